"""Runs a command in a named machine with our standard streams and terminal; forwards Ctrl-C."""

from __future__ import annotations

import os
import signal
import time

from microvm.supervisor import lazy
from microvm.supervisor.client import protocol
from microvm.supervisor.client.blocking import BlockingConnection, connect
from microvm.system import interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_PIPE = -1  # the value of subprocess.PIPE
_CHUNK = 1 << 16
_KILL_TIMEOUT = 10.0  # maximum number of seconds to wait until our command is killed


class _Ended(Exception):
    """Raised when this process and its command have to end because of a signal, such as SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def execute(
    name: str,
    argv: list[str],
    options: dict[str, Any] | None = None,
    *,
    standard_input: bool | None = None,
    wait: bool = False,
) -> int:
    """Run a command in a named machine, and return the exit status for this process.

    :param options: the `ExecOptions`, with values that JSON supports. `tty` is True for a terminal.
    :param standard_input: True to pass our standard input on. By default it is passed on if it is
        no terminal, or if the command has a terminal, too.
    :raises MicroVMError: there is no such machine, or the command cannot be run.
    """
    with connect(name, beginning=True) as connection:
        command = _ForegroundCommand(connection, dict(options or {}))
        try:
            returncode = command.run(argv, standard_input, wait=wait)
        except _Ended as ended:
            command.kill()
            return ended.status
        except Exception as error:
            if isinstance(error, lazy.errors.StartError):
                hint = lazy.hints.about(error, argv[0], command.options.get("cwd"), "`microvm cp`")
                error.hint = hint or error.hint
            raise
        return returncode if returncode >= 0 else 128 - returncode


class _ForegroundCommand:
    """A command in a named machine, with its own connection to the machine's supervisor.

    :ivar raw: True if our terminal passes all keys to the command.
    :ivar feed: the pipe to the command's input if that comes from our terminal, or -1.
    :ivar explained: True if the effect of a second Ctrl-C was explained to the user.
    """

    def __init__(self, connection: BlockingConnection, options: dict[str, Any]) -> None:
        self.connection = connection
        self.options = options
        self.command = ""
        self.requested = False
        self.leaving = False
        self.raw = False
        self.interrupted_at = float("-inf")
        self.explained = False
        self.feed = -1
        self.restore: Callable[[], object] = bool
        self.readable: dict[int, Callable[[], object]] = {}

    def run(self, argv: list[str], standard_input: bool | None, *, wait: bool) -> int:
        """Run the command until it exits, and return its return code.

        :raises _Ended: a signal ends this process.
        """
        self.command = argv[0]
        if self.options.get("tty"):
            self.options["tty"] = _size()
            variables = self.options.get("env") or {}
            self.options["env"] = {"TERM": os.environ.get("TERM", "dumb"), **variables}
        terminal = os.isatty(0)
        fed = not terminal or bool(self.options.get("tty"))
        if fed if standard_input is None else standard_input:
            self.options["stdin"] = _PIPE
        self.raw = terminal and bool(self.options.get("tty")) and "stdin" in self.options
        fields = {"argv": argv, "options": self.options, "wait": wait, "sized": self.raw}
        request = protocol.request(call="exec", **fields)
        before = {number: signal.getsignal(number) for number in _ENDING}
        try:
            for number, handler in before.items():
                # Keep ignoring a signal that, for example, nohup(1) has made this process ignore.
                if handler is not signal.SIG_IGN:
                    signal.signal(number, self._on_signal)
            if terminal:
                self._send_with_pipe(request)
            else:
                self.connection.send(request, (0, 1, 2))
            self.requested = True
            code: int = self.connection.reply(self._on_event, self.readable)["returncode"]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.restore()
        if code == 0 and terminal and standard_input is None and "stdin" not in self.options:
            lazy.terminal_hints.suggest_terminal(argv)
        return code

    def _send_with_pipe(self, request: bytes) -> None:
        """Send the request with a pipe as the command's input, instead of our terminal.

        This process reads from the terminal and copies to the pipe, because only then can the shell
        stop and resume this process.
        """
        source, self.feed = os.pipe()
        try:
            self.connection.send(request, (source, 1, 2))
        finally:
            os.close(source)
        if "stdin" in self.options:
            self.readable[0] = self._feed
        else:
            os.close(self.feed)

    def _feed(self) -> None:
        """Copy data from our terminal to the pipe that is the command's input."""
        try:
            data = os.read(0, _CHUNK)
            while data:
                data = data[os.write(self.feed, data) :]
                if not data:
                    return
        except OSError:  # the terminal was hung up, or the command has closed its input
            pass
        del self.readable[0]
        os.close(self.feed)

    def _on_event(self, name: str, _: object) -> None:
        if name == "started" and self.raw:
            self._enter_raw_mode()

    def _enter_raw_mode(self) -> None:
        import termios  # imported here, because few commands have a terminal
        import tty

        before = termios.tcgetattr(0)
        resized = signal.getsignal(signal.SIGWINCH)

        def restore() -> None:
            signal.signal(signal.SIGWINCH, resized)
            with lazy.contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, before)  # fails if the terminal was hung up

        self.restore = restore
        tty.setraw(0, termios.TCSADRAIN)
        signal.signal(signal.SIGWINCH, lambda *_: self._resize())
        # Send the current size, because it may have changed since the command was started.
        self._resize()

    def _resize(self) -> None:
        self.connection.send(protocol.resize(*_size()))

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        """Pass a Ctrl-C to the supervisor. A second Ctrl-C within a second ends this process.

        The supervisor passes it to the command, or cancels the request if the command has not
        started. This process does not know for sure whether the command has started.
        """
        interrupt.note(number)
        if self.leaving:
            self._exit(number)
        now, before = time.monotonic(), self.interrupted_at
        self.interrupted_at = now
        if number == signal.SIGINT and self.requested and now - before >= interrupt.AGAIN:
            self.connection.send(protocol.signal(number))
            if not (self.raw or self.explained):
                signal.signal(signal.SIGALRM, lambda *_: self._explain())
                signal.setitimer(signal.ITIMER_REAL, interrupt.AGAIN)
        else:
            self.leaving = True
            raise _Ended(number)

    def _explain(self) -> None:
        self.explained = True
        lazy.terminal_hints.explain_interrupt(self.command, "to kill it")

    def _exit(self, number: int) -> NoReturn:
        self.restore()
        interrupt.leave(128 + number)

    def kill(self) -> None:
        """Make the supervisor kill the command, and wait at most 10 s until it has done so."""
        connected = self.connection.socket
        with lazy.contextlib.suppress(OSError):
            connected.shutdown(1)  # 1 is SHUT_WR; the supervisor then kills the command
            connected.settimeout(_KILL_TIMEOUT)
            while connected.recv(_CHUNK):
                pass


def _size() -> tuple[int, int]:
    """Return the lines and columns of our terminal, or 24 and 80 if they are not known."""
    try:
        columns, lines = os.get_terminal_size(0)
    except OSError:
        columns = lines = 0
    return (lines, columns) if lines and columns else (24, 80)

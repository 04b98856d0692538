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
PIPE = -1  # the value of subprocess.PIPE
_CHUNK = 1 << 16
_DETACH_KEYS = b"\x10\x11"  # Ctrl-P Ctrl-Q, as in docker
_KILL_TIMEOUT = 10.0  # maximum number of seconds to wait until our command is killed


class Ended(Exception):
    """Raised when this process has to end before its command, such as because of SIGTERM.

    :ivar status: the exit status for this process.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


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
        return execute_over(connection, argv, options, standard_input=standard_input, wait=wait)


def execute_over(
    connection: BlockingConnection,
    argv: list[str],
    options: dict[str, Any] | None = None,
    *,
    standard_input: bool | None = None,
    copier: str = "`microvm cp`",
    **fields: object,
) -> int:
    """Run a command as `execute` does, over a new connection to the supervisor.

    :param copier: the command or option that copies files into the machine, for hints.
    :param fields: further fields of the request.
    """
    command = ForegroundCommand(connection, dict(options or {}))
    try:
        returncode = command.run(argv, standard_input, **fields)
    except Ended as ended:
        command.leave()
        return ended.status
    except Exception as error:
        explain(error, argv, command.options, copier)
        raise
    return exit_status(returncode)


def explain(
    error: Exception, argv: list[str], options: dict[str, Any], copier: str = "`microvm cp`"
) -> None:
    """Add a hint to the error for a command that could not be started."""
    if isinstance(error, lazy.errors.StartError):
        hint = lazy.hints.about(error, argv[0], options.get("cwd"), copier)
        error.hint = hint or error.hint


def exit_status(returncode: int) -> int:
    """Return the exit status of a shell for a command with this return code."""
    return returncode if returncode >= 0 else 128 - returncode


def use_terminal(options: dict[str, Any]) -> None:
    """If the command gets a terminal, set its size and its type to those of our terminal."""
    if options.get("tty"):
        options["tty"] = _size()
        variables = options.get("env") or {}
        options["env"] = {"TERM": os.environ.get("TERM", "dumb"), **variables}


class ForegroundCommand:
    """A command in a named machine, with its own connection to the machine's supervisor.

    :ivar raw: True if our terminal passes all keys to the command.
    :ivar feed: the pipe to the command's input if that comes from our terminal, or -1.
    :ivar held_interrupt: True if a Ctrl-C has come while the request was sent.
    :ivar explained: True if the effect of a second Ctrl-C was explained to the user.
    :ivar is_detached: True if the command is detached, and so continues when this process exits.
    """

    def __init__(self, connection: BlockingConnection, options: dict[str, Any]) -> None:
        self.connection = connection
        self.options = options
        self.command = ""
        self.sending = False
        self.requested = False
        self.held_interrupt = False
        self.leaving = False
        self.raw = False
        self.interrupted_at = float("-inf")
        self.explained = False
        self.is_detached = False
        self.held = b""
        self.feed = -1
        self.restore: Callable[[], object] = bool
        self.readable: dict[int, Callable[[], object]] = {}

    def run(self, argv: list[str], standard_input: bool | None, **fields: object) -> int:
        """Run the command until it exits, and return its return code.

        :param fields: further fields of the request, such as `wait`.
        :raises Ended: a signal ends this process.
        """
        use_terminal(self.options)
        terminal = os.isatty(0)
        fed = not terminal or bool(self.options.get("tty"))
        if fed if standard_input is None else standard_input:
            self.options["stdin"] = PIPE
        code = self.converse(argv, call="exec", argv=argv, options=self.options, **fields)
        if code == 0 and terminal and standard_input is None and "stdin" not in self.options:
            lazy.terminal_hints.suggest_terminal(argv)
        return code

    def converse(self, args: list[str], **fields: object) -> int:
        """Send a request with our standard streams, and return the command's return code.

        The command gets our standard input only if the attribute `options` contains `stdin`.

        :param args: the command line, for messages to the user.
        :param fields: the fields of the request.
        :raises Ended: a signal or the keys to detach end this process.
        """
        self.command = args[0]
        terminal = os.isatty(0)
        self.raw = self.uses_raw_mode()
        request = protocol.request(sized=self.raw, **fields)
        if self.is_detached and not terminal:
            request += protocol.end_input()  # the supervisor reads our input until its end
        before = {number: signal.getsignal(number) for number in _ENDING}
        try:
            for number, handler in before.items():
                # Keep ignoring a signal that, for example, nohup(1) has made this process ignore.
                if handler is not signal.SIG_IGN:
                    signal.signal(number, self._on_signal)
            self.sending = True
            if terminal:
                self._send_with_pipe(request)
            else:
                self.connection.send(request, (0, 1, 2))
            self.requested, self.sending = True, False
            if self.held_interrupt:
                self._interrupt()
            code: int = self.connection.reply(self._on_event, self.readable)["returncode"]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.restore()
        return code

    def uses_raw_mode(self) -> bool:
        """Return True if our terminal passes all keys to the command."""
        return os.isatty(0) and bool(self.options.get("tty")) and "stdin" in self.options

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
            if data and self.raw and self.is_detached:
                data = self._without_detach_keys(data)
                if not data:
                    return
            while data:
                data = data[os.write(self.feed, data) :]
                if not data:
                    return
            if self.is_detached:
                self.connection.send(protocol.end_input())
        except OSError:  # the terminal was hung up, or the command has closed its input
            pass
        del self.readable[0]
        os.close(self.feed)

    def _without_detach_keys(self, data: bytes) -> bytes:
        """Return the typed bytes to pass on now; raise `Ended` for the keys to detach.

        The two keys arrive one by one, so the first one is held back until the next one arrives.
        """
        data, self.held = self.held + data, b""
        if _DETACH_KEYS in data:
            raise Ended(0)
        if data.endswith(_DETACH_KEYS[:1]):
            data, self.held = data[:-1], data[-1:]
        return data

    def _on_event(self, name: str, value: Any) -> None:
        if name == "started" and self.raw:
            self._enter_raw_mode()
        elif name == "dropped" and not self.raw:
            notify_dropped(value)
        elif name == "notice":
            notify(value)

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
        if self.is_detached:
            # First send another size, as docker does, so that the program draws its screen again.
            lines, columns = _size()
            self.connection.send(protocol.resize(lines + 1, columns + 1))
        # Send the current size, because it may have changed since the command was started.
        self._resize()

    def _resize(self) -> None:
        self.connection.send(protocol.resize(*_size()))

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        """Pass a Ctrl-C to the supervisor. A second Ctrl-C within a second ends this process.

        The supervisor passes it to the command, or cancels the request if the command has not
        started. This process does not know for sure whether the command has started. The command
        can run even before the call that sends the request returns, so a Ctrl-C waits for the call.
        """
        interrupt.note(number)
        if self.leaving:
            self._exit(number)
        now, before = time.monotonic(), self.interrupted_at
        self.interrupted_at = now
        if number != signal.SIGINT or now - before < interrupt.AGAIN:
            self._end(number)
        elif self.requested:
            self._interrupt()
        elif self.sending:
            self.held_interrupt = True
        else:
            self._end(number)

    def _end(self, number: int) -> NoReturn:
        self.leaving = True
        raise Ended(128 + number)

    def _interrupt(self) -> None:
        self.connection.send(protocol.signal(signal.SIGINT))
        if not (self.raw or self.explained):
            signal.signal(signal.SIGALRM, lambda *_: self._explain())
            signal.setitimer(signal.ITIMER_REAL, interrupt.AGAIN)

    def _explain(self) -> None:
        self.explained = True
        effect = "to detach from it" if self.is_detached else "to kill it"
        lazy.terminal_hints.explain_interrupt(self.command, effect)

    def _exit(self, number: int) -> NoReturn:
        self.restore()
        interrupt.leave(128 + number)

    def leave(self) -> None:
        """Disconnect, and wait at most 10 s until the supervisor has killed the command.

        A detached command continues to run.
        """
        connected = self.connection.socket
        with lazy.contextlib.suppress(OSError):
            connected.shutdown(1)  # 1 is SHUT_WR; the supervisor then kills the command
            connected.settimeout(_KILL_TIMEOUT)
            while connected.recv(_CHUNK):
                pass


def notify_dropped(amounts: list[int]) -> None:
    """Print how many bytes of the output of a detached command are no longer kept."""
    for stream, amount in zip(("output", "error"), amounts, strict=True):
        if amount:
            missing = f"the first {amount} bytes of standard {stream} are missing"
            notify(f"{missing}, because only recent output is kept")


def notify(text: str) -> None:
    """Print a notice to standard error, unless the user has hidden notices."""
    lazy.progress.STDERR.notify(text)


def _size() -> tuple[int, int]:
    """Return the lines and columns of our terminal, or 24 and 80 if they are not known."""
    try:
        columns, lines = os.get_terminal_size(0)
    except OSError:
        columns = lines = 0
    return (lines, columns) if lines and columns else (24, 80)

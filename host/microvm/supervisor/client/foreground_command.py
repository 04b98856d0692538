"""A command in a named machine, attached to our streams, our terminal and our signals."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from microvm.supervisor import wire
from microvm.supervisor.client.blocking import BlockingConnection, connect
from microvm.system import interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_PIPE = -1  # subprocess.PIPE
_CHUNK = 1 << 16
_KILL_TIMEOUT = 10.0  # of a supervisor that is to kill our command, in seconds


class _Ended(Exception):
    """A signal ends us, and the command with us."""

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
    """Run a command in a named machine, and return our exit status.

    :param options: `ExecOptions`, by name, as JSON has them; `tty` is True for a terminal.
    :param standard_input: whether that is passed on; by default unless it is a terminal, which is
        passed on to a terminal only.
    :param wait: wait for our turn, where another command runs.
    :raises MicroVMError: what the machine says, or that there is none.
    """
    with connect(name, beginning=True) as connection:
        attached = _Attached(connection, dict(options or {}))
        try:
            returncode = attached.run(argv, standard_input, wait=wait)
        except _Ended as ended:
            attached.leave()
            return ended.status
        except Exception as error:
            _add_hint(error, argv, attached.options)
            raise
        return returncode if returncode >= 0 else 128 - returncode


def _add_hint(error: Exception, argv: list[str], options: dict[str, Any]) -> None:
    from microvm.errors import StartError
    from microvm.machine import hints

    if isinstance(error, StartError):
        hint = hints.about(error, argv[0], options.get("cwd"), "`microvm cp`")
        error.hint = hint or error.hint


class _Attached:
    """A command, over a connection of its own."""

    def __init__(self, connection: BlockingConnection, options: dict[str, Any]) -> None:
        self.connection = connection
        self.options = options
        self.command = ""
        self.started = False
        self.leaving = False
        self.raw = False  # whether our terminal is the command's
        self.interrupted_at = float("-inf")
        self.explained = False  # whether the effect of a second Ctrl-C was explained
        self.feed = -1
        self.restore: Callable[[], object] = bool
        self.readable: dict[int, Callable[[], object]] = {}

    def run(self, argv: list[str], standard_input: bool | None, *, wait: bool) -> int:
        """Run it to its end, and return its return code.

        :raises _Ended: a signal ends us.
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
        request = {"argv": argv, "options": self.options, "wait": wait, "sized": self.raw}
        request = {"wire": wire.WIRE, "call": "exec", **request}
        before = {number: signal.getsignal(number) for number in _ENDING}
        try:
            for number, handler in before.items():
                if handler is not signal.SIG_IGN:  # as by nohup(1)
                    signal.signal(number, self._on_signal)
            if terminal:
                self._send_with_source(request)
            else:
                self.connection.send(request, (0, 1, 2))
            code: int = self.connection.reply(self._on_line, self.readable)["returncode"]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.restore()
        if code == 0 and terminal and standard_input is None and "stdin" not in self.options:
            from microvm.system import terminal_hints

            terminal_hints.suggest_terminal(argv)
        return code

    def _send_with_source(self, request: dict[str, Any]) -> None:
        """Send the request with something in the place of our terminal.

        It is read by us: who does that has to stop, and to go on, as our shell wants it.
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
        """Pass on what can be read from our terminal."""
        try:
            data = os.read(0, _CHUNK)
            while data:
                data = data[os.write(self.feed, data) :]
                if not data:
                    return
        except OSError:  # it was hung up, or the command takes no more
            pass
        del self.readable[0]
        os.close(self.feed)

    def _on_line(self, line: dict[str, Any]) -> None:
        if "started" in line:
            self.started = True
            if self.raw:
                self._enter_raw_mode()

    def _enter_raw_mode(self) -> None:
        import termios
        import tty

        before = termios.tcgetattr(0)
        resized = signal.getsignal(signal.SIGWINCH)

        def restore() -> None:
            signal.signal(signal.SIGWINCH, resized)
            with suppress(termios.error):  # it was hung up
                termios.tcsetattr(0, termios.TCSADRAIN, before)

        self.restore = restore
        tty.setraw(0, termios.TCSADRAIN)
        signal.signal(signal.SIGWINCH, lambda *_: self._resize())
        self._resize()  # it may have changed since the command was started

    def _resize(self) -> None:
        self.connection.send({"resize": _size()})

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        """Pass a Ctrl-C on to the command; the second one within a second is for us."""
        interrupt.note(number)
        if self.leaving:
            self._exit(number)
        now, before = time.monotonic(), self.interrupted_at
        self.interrupted_at = now
        if number == signal.SIGINT and self.started and now - before >= interrupt.AGAIN:
            self.connection.send({"signal": number})
            if not (self.raw or self.explained):
                signal.signal(signal.SIGALRM, lambda *_: self._explain())
                signal.setitimer(signal.ITIMER_REAL, interrupt.AGAIN)
        else:
            self.leaving = True
            raise _Ended(number)

    def _explain(self) -> None:
        from microvm.system import terminal_hints

        self.explained = True
        terminal_hints.explain_interrupt(self.command, "to kill it")

    def _exit(self, number: int) -> NoReturn:
        self.restore()
        interrupt.leave(128 + number)

    def leave(self) -> None:
        """Have the command killed, and wait until it is gone, but not for ever."""
        connected = self.connection.socket
        with suppress(OSError):
            connected.shutdown(1)  # SHUT_WR
            connected.settimeout(_KILL_TIMEOUT)
            while connected.recv(_CHUNK):
                pass


def _size() -> list[int]:
    """Return lines and columns; the default for what is no terminal, or does not know its size."""
    try:
        columns, lines = os.get_terminal_size(0)
    except OSError:
        columns = lines = 0
    return [lines, columns] if lines and columns else [24, 80]

"""A session of the host that a test drives by the messages of both sides."""

from __future__ import annotations

from microvm.errors import Busy, MachineError, UsageError
from microvm.wire import codec
from microvm.wire.session import WINDOW, Session


class DrivenSession:
    """A session without I/O, whose methods are called for messages of the host."""

    def __init__(self) -> None:
        """Create a new session."""
        self._nonce = 0
        self.session = Session(clock=lambda: 0, entropy=self._random)
        self.session.commands = codec.MAX_COMMANDS

    def _random(self, size: int) -> bytes:
        return self._nonce.to_bytes(size, "little")

    def say(self, message: codec.Message) -> bool:
        """Make the session send a message, and return True unless it refuses to send it."""
        try:
            return bool(self._said(message))
        except (Busy, MachineError, UsageError):
            return False

    def hear(self, message: codec.Message) -> bool:
        """Pass a message of the guest to the session, and return True unless it was dropped.

        :raises ProtocolError: the message is out of order.
        """
        self.session.receive_data(message.encode())
        return self.session.next_event() is not None

    def _said(self, message: codec.Message) -> object:
        session = self.session
        match message:
            case codec.Hello(nonce=nonce):
                self._nonce = nonce
                return session.hello()
            case codec.Resume():
                return session.resume()
            case codec.Keep():
                return session.keep()
            case codec.Ping(token=token):
                return session.ping(token)
            case codec.StatusRequest():
                return session.status_request()
            case codec.Shutdown():
                return session.shutdown()
            case codec.ExecRequest():
                return session.exec_request(message)[1]
        conversation = session.running.get(getattr(message, "id", 0))
        if conversation is None:
            return b""
        match message:
            case codec.ExecSignal(signal=signal):
                return conversation.signal(signal)
            case codec.ExecKill():
                return conversation.kill()
            case codec.ExecTerminate():
                return conversation.terminate()
            case codec.ExecResize(rows=rows, columns=columns):
                return conversation.resize(rows, columns)
            case codec.ExecStdin(data=data):
                return conversation.stdin(data)
            case codec.ExecCredit(stream=stream):
                # The session chooses the amount of credit itself. After a whole window was read, it
                # always sends credit.
                return conversation.consumed(stream, WINDOW)
        raise TypeError(message)

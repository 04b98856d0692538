"""Bugs of the host that a hostile guest can use, for rung E."""

from __future__ import annotations

from . import Mutant

SESSION = "host/microvm/wire/session.py"
GUEST = "host/microvm/guest/guest.py"
STATE = "host/microvm/wire/state.py"
CHANNEL = "host/microvm/wire/channel.py"
COMMAND = "host/microvm/guest/command.py"
STREAMS = "host/microvm/guest/streams.py"
ERRORS = "host/microvm/errors.py"
CONSOLE = "host/microvm/qemu/console.py"
CODEC = "host/microvm/wire/codec.py"

_PAID = "self._expect(id_ == self._id and 0 < len(data) <= self._credit[stream], message)"
_END = "self._expect(id_ == self._id and self._can_be(message), message)"
_STDIN_CREDIT = "self._expect(id_ == self._id and self._takes_stdin and amount > 0, message)"
_STDIN_CLOSED = "self._expect(id_ == self._id and self._takes_stdin, message)"
_HEADER = "if rule is None or flags or id_ not in rule.ids or length > rule.max_body:"
_FAST = "length, number, flags, id_ = _HEADER.unpack_from(chunk, self._at)"
_OWN = "            rule = self._own.get(number)\n            "

MUTANTS: tuple[Mutant, ...] = (
    # -- What the session knows ------------------------------------------------------------------
    Mutant(
        "credit-unchecked", SESSION, _PAID, _PAID.replace(" <= self._credit[stream]", ""), "check"
    ),
    Mutant(
        "credit-off-by-one",
        SESSION,
        "<= self._credit[stream]",
        "<= self._credit[stream] + 1",
        "bound",
    ),
    Mutant("empty-output-accepted", SESSION, "0 < len(data) <=", "0 <= len(data) <=", "bound"),
    Mutant("credit-never-spent", SESSION, "self._credit[stream] -= len(data)", "pass", "state"),
    Mutant("output-id-unchecked", SESSION, _PAID, _PAID.replace("id_ == self._id and ", ""), "id"),
    Mutant("response-id-unchecked", SESSION, _END, _END.replace("id_ == self._id and ", ""), "id"),
    Mutant(
        "responses-twice",
        STATE,
        "codec.ExecResponse: State.IDLE",
        "codec.ExecResponse: State.RUNNING",
        "state",
    ),
    Mutant(
        "stdin-credit-id-unchecked",
        SESSION,
        _STDIN_CREDIT,
        _STDIN_CREDIT.replace("id_ == self._id and ", ""),
        "id",
    ),
    Mutant(
        "stdin-credit-without-stdin",
        SESSION,
        _STDIN_CREDIT,
        _STDIN_CREDIT.replace("self._takes_stdin and ", ""),
        "state",
    ),
    Mutant(
        "stdin-credit-of-nothing",
        SESSION,
        _STDIN_CREDIT,
        _STDIN_CREDIT.replace(" and amount > 0", ""),
        "bound",
    ),
    Mutant(
        "stdin-closed-id-unchecked",
        SESSION,
        _STDIN_CLOSED,
        _STDIN_CLOSED.replace("id_ == self._id and ", ""),
        "id",
    ),
    Mutant(
        "stdin-closed-twice",
        SESSION,
        "self._takes_stdin = False\n                self",
        "self",
        "state",
    ),
    Mutant(
        "pong-unchecked",
        SESSION,
        "self._expect(token in self._pings, message)\n                self._pings.remove(token)",
        "pass",
        "id",
    ),
    Mutant("pong-twice", SESSION, "                self._pings.remove(token)\n", "", "state"),
    Mutant("status-unasked", SESSION, "self._expect(self._statuses > 0, message)", "pass", "check"),
    Mutant("status-never-counted-down", SESSION, "self._statuses -= 1", "pass", "state"),
    Mutant("nonce-unchecked", SESSION, "if nonce != self._nonce:", "if False:", "check"),
    Mutant("digest-unchecked", SESSION, "if not newer and codec", "if newer and codec", "check"),
    Mutant(
        "version-not-agreed",
        SESSION,
        "newer = ready.version > codec.VERSION",
        "newer = ready.version >= codec.VERSION",
        "bound",
    ),
    Mutant("goodbye-forgotten", SESSION, "self._goodbye = True", "pass", "state"),
    Mutant(
        "signal-0-is-success",
        SESSION,
        "limited and 0 < message.status < NSIG",
        "limited and 0 <= message.status < NSIG",
        "bound",
    ),
    Mutant(
        "wrong-message-ignored",
        SESSION,
        "if self.state in _BEFORE_READY:",
        "if self.state:",
        "check",
    ),
    Mutant(
        "refusal-ignored",
        SESSION,
        'raise ProtocolError(\n                    f"the guest refused',
        'str(\n                    f"the guest refused',
        "check",
    ),
    Mutant(
        "credit-given-again",
        SESSION,
        "amount, self._owed[stream] = self._owed[stream], 0",
        "amount = self._owed[stream]",
        "state",
    ),
    Mutant(
        "malformed-is-fatal-to-us",
        SESSION,
        "except codec.DecodeError as error:\n            self._enter",
        "except codec.EncodeError as error:\n            self._enter",
        "crash",
    ),
    Mutant(
        "error-code-must-be-known",
        SESSION,
        "code.name.lower() if isinstance(code, codec.ErrorCode) else code",
        "codec.ErrorCode(code).name.lower()",
        "crash",
    ),
    # -- Frames ----------------------------------------------------------------------------------
    Mutant(
        "length-bound-raised",
        CODEC,
        '_decode_exec_output, ("guest",), _SOME_ID, 65537',
        '_decode_exec_output, ("guest",), _SOME_ID, 131074',
        "bound",
    ),
    Mutant(
        "length-bound-off-by-one",
        CODEC,
        '_decode_exec_response, ("guest",), _SOME_ID, 2)',
        '_decode_exec_response, ("guest",), _SOME_ID, 3)',
        "bound",
    ),
    Mutant(
        "flags-unchecked",
        CODEC,
        f"{_FAST}\n{_OWN}{_HEADER}",
        f"{_FAST}\n{_OWN}{_HEADER.replace('or flags ', '')}",
        "check",
    ),
    Mutant(
        "partial-length-unchecked",
        CODEC,
        f"unpack_from(self._partial)\n        rule = self._own.get(number)\n        {_HEADER}",
        f"unpack_from(self._partial)\n        rule = self._own.get(number)\n        {_HEADER.replace(' or length > rule.max_body', '')}",
        "check",
    ),
    Mutant(
        "direction-unchecked",
        CODEC,
        "if self._sender in rule.senders}",
        "if rule.senders}",
        "check",
    ),
    Mutant(
        "partial-not-reset",
        CODEC,
        "        frame = bytes(self._partial)\n        self._partial.clear()\n",
        "        frame = bytes(self._partial)\n",
        "state",
    ),
    Mutant("magic-unchecked", CODEC, "if value != self.default:", "if False:", "check"),
    # -- The live guest --------------------------------------------------------------------------
    Mutant(
        "kill-without-deadline",
        GUEST,
        "self._kill_due.start(self._timeouts.kill, late)",
        "pass",
        "deadline",
    ),
    Mutant("kill-put-off", GUEST, "if self._kill_due.is_running:", "if False:", "deadline"),
    Mutant(
        "pong-without-deadline",
        GUEST,
        "self._pong_due.start(self._timeouts.ping, late)",
        "self._pong_due.start(1e9, late)",
        "deadline",
    ),
    Mutant(
        "never-asked",
        GUEST,
        "        self._next_ping.start(self._timeouts.ping_interval, self._ask)\n        if limits.timeout",
        "        if limits.timeout",
        "deadline",
    ),
    Mutant(
        "asked-once",
        GUEST,
        "                    if self._command:\n                        self._next_ping.start(self._timeouts.ping_interval, self._ask)\n",
        "",
        "deadline",
    ),
    Mutant(
        "time-out-forgotten",
        GUEST,
        "if limits.timeout is not None:",
        "if limits.timeout is None:",
        "crash",
    ),
    Mutant(
        "grace-without-end",
        GUEST,
        "            self._command_due.start(grace, self._kill)\n",
        "",
        "deadline",
    ),
    Mutant("status-waiters-forgotten", GUEST, ", *self._statuses]", "]", "wake-up"),
    Mutant("pong-waiters-forgotten", GUEST, "*self._pongs.values(), ", "", "wake-up"),
    Mutant(
        "process-not-told",
        GUEST,
        "            command.lose(error)\n",
        "            pass\n",
        "wake-up",
    ),
    Mutant(
        "channel-left-open",
        GUEST,
        "        self._channel.close()\n",
        "",
        "leak",
    ),
    Mutant(
        "timers-outlive-their-command",
        GUEST,
        "                _cancel(self._next_ping, self._command_due, self._kill_due)\n",
        "",
        "state",
    ),
    Mutant(
        "loss-never-told",
        GUEST,
        "self._loss_due.start(self._timeouts.loss_grace, partial(self.fail, error))",
        "pass",
        "wake-up",
    ),
    Mutant(
        "full-port-ignored",
        GUEST,
        "return 0 if self._channel.is_full else self._session.stdin_credit",
        "return self._session.stdin_credit",
        "memory",
    ),
    Mutant(
        "over-limit-not-killed",
        GUEST,
        "                    self._kill()\n            case",
        "            case",
        "deadline",
    ),
    # -- The port --------------------------------------------------------------------------------
    Mutant(
        "half-open-port-waited-for",
        CHANNEL,
        "        self.connection_lost(None)\n",
        "        pass\n",
        "deadline",
    ),
    Mutant(
        "end-of-port-not-told",
        CHANNEL,
        '        self._lose(GuestDied(f"the connection to the guest ended{reason}"))',
        "        del reason",
        "wake-up",
    ),
    Mutant(
        "events-dropped",
        CHANNEL,
        "            for _ in range(most):",
        "            for _ in range(1):",
        "state",
    ),
    Mutant(
        "the-rest-forgotten",
        CHANNEL,
        "self._turn = self._loop.call_soon(self._take_turn)",
        "pass",
        "state",
    ),
    # -- The command and its streams -------------------------------------------------------------
    Mutant(
        "limit-off-by-one",
        COMMAND,
        "data[: self._max_output - self._output]",
        "data[: self._max_output - self._output + 1]",
        "bound",
    ),
    Mutant(
        "signal-is-exit-code",
        COMMAND,
        "if exited else -message.status",
        "if exited else message.status",
        "state",
    ),
    Mutant(
        "loss-without-reason",
        COMMAND,
        "        self.error = error\n        self.returncode",
        "        self.returncode",
        "crash",
    ),
    Mutant(
        "streams-swapped",
        COMMAND,
        "if message.stream is codec.Stream.STDOUT",
        "if message.stream is codec.Stream.STDERR",
        "state",
    ),
    Mutant(
        "output-wakes-nobody",
        STREAMS,
        "            self._chunks.append(bytearray(data))\n        self._wake.set()",
        "            self._chunks.append(bytearray(data))",
        "wake-up",
    ),
    Mutant(
        "end-wakes-nobody",
        STREAMS,
        "        self._error = error\n        self._wake.set()",
        "        self._error = error",
        "wake-up",
    ),
    Mutant(
        "half-a-line-lost",
        STREAMS,
        "            self._part += chunk\n        return self._cut(end)",
        "            self._part += chunk[:-1]\n        return self._cut(end)",
        "state",
    ),
    Mutant(
        "paid-for-twice",
        STREAMS,
        "        if self._keep is None:\n            self._consumed(len(chunk))",
        "        self._consumed(len(chunk))",
        "state",
    ),
    Mutant(
        "stdin-beyond-credit",
        STREAMS,
        "(size := min(self._credit(), STDIN_CHUNK))",
        "(size := STDIN_CHUNK)",
        "crash",
    ),
    Mutant(
        "stdin-rest-lost",
        STREAMS,
        "                self._pending.appendleft(data[size:])\n",
        "                pass\n",
        "state",
    ),
    Mutant(
        "stdin-ends-twice",
        STREAMS,
        "                self._sent_end = True\n".removeprefix("    "),
        "            pass\n",
        "state",
    ),
    Mutant(
        "refused-drain-waits",
        STREAMS,
        "        self._pending.clear()\n        self._drained.set()",
        "        self._pending.clear()",
        "wake-up",
    ),
    # -- What may reach a terminal ---------------------------------------------------------------
    Mutant(
        "errno-looked-up",
        ERRORS,
        "os.strerror(errno) if errno < _ERRNO_END else",
        "os.strerror(errno) if errno >= 0 else",
        "crash",
    ),
    Mutant(
        "controls-printed",
        CONSOLE,
        'if char.isprintable() or char in "\\n\\t")',
        "if char)",
        "terminal",
    ),
    Mutant("panic-with-tabs", CONSOLE, "[^\\t\\n]{0,160}", "[^\\n]{0,160}", "terminal"),
    Mutant("panic-without-end", CONSOLE, "[^\\t\\n]{0,160}", "[^\\t\\n]*", "terminal"),
)

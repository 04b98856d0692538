"""Commands of a session of OpenAI Agents that run at the same time, with or without a terminal."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from microvm import ExecOptions, Process
from microvm.errors import ExecError, ReadTimeout
from microvm.frameworks.versions import supported
from microvm.jobs.ending import status

with supported("openai-agents"):
    from agents.sandbox.session.base_sandbox_session import BaseSandboxSession
    from agents.sandbox.session.pty_output import collect_pty_output
    from agents.sandbox.session.pty_types import (
        PtyExecUpdate,
        allocate_pty_process_id,
        clamp_pty_yield_time_ms,
        resolve_pty_write_yield_time_ms,
    )
    from agents.sandbox.types import User

_MAX_UPDATE = 1 << 20  # maximum number of bytes in one update; the rest waits in the guest
_CHUNK = 1 << 16
_INPUT_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class _Running:
    """A running command, and the incomplete character at the end of its output so far."""

    process: Process
    rest: deque[bytes] = field(default_factory=deque)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class InteractiveSession(BaseSandboxSession):
    """The methods of a session for commands that run at the same time, also in a terminal."""

    def __init__(self) -> None:
        self._running: dict[int, _Running] = {}

    async def _request(
        self, command: Sequence[str | Path], timeout: float | None
    ) -> tuple[list[str], ExecOptions]:
        """Return the arguments and the options of a command. An option replaces `sudo -u USER`."""
        argv = [str(word) for word in command]
        manifest = self.state.manifest
        variables = await manifest.environment.resolve()
        options: ExecOptions = {"cwd": manifest.root, "env": variables, "timeout": timeout}
        if argv[:2] == ["sudo", "-u"] and argv[3:4] == ["--"]:
            options["user"], argv = argv[2], argv[4:]
        return argv, options

    async def _begin(self, command: list[str], *, tty: bool, timeout: float | None) -> Process:
        """Start a command. Its standard output also contains its standard error."""
        raise NotImplementedError

    def supports_pty(self) -> bool:
        """Return True."""
        return True

    async def pty_exec_start(
        self,
        *command: str | Path,
        timeout: float | None = None,
        shell: bool | list[str] = True,
        user: str | User | None = None,
        tty: bool = False,
        yield_time_s: float | None = None,
        max_output_tokens: int | None = None,
    ) -> PtyExecUpdate:
        """Start a command, and return its first output."""
        argv = self._prepare_exec_command(*command, shell=shell, user=user)
        process = await self._begin(argv, tty=tty, timeout=timeout)
        number = allocate_pty_process_id(set(self._running))
        self._running[number] = _Running(process)
        wait = clamp_pty_yield_time_ms(_milliseconds(yield_time_s, 10.0))
        return await self._update(number, wait, max_output_tokens)

    async def pty_write_stdin(
        self,
        *,
        session_id: int,
        chars: str,
        yield_time_s: float | None = None,
        max_output_tokens: int | None = None,
    ) -> PtyExecUpdate:
        """Write to the terminal of a command, and return its next output."""
        running = self._resolve_pty_session_entry(
            pty_processes=self._running, session_id=session_id
        )
        if chars:
            stdin = running.process.stdin
            if stdin is None:
                raise RuntimeError("stdin is not available for this process")
            # The program in the terminal may have exited, or may not read its input.
            with suppress(BrokenPipeError, TimeoutError):
                stdin.write(chars.encode())
                await asyncio.wait_for(stdin.drain(), _INPUT_TIMEOUT)
        wait = resolve_pty_write_yield_time_ms(
            yield_time_ms=_milliseconds(yield_time_s, 0.25), input_empty=not chars
        )
        return await self._update(session_id, wait, max_output_tokens)

    async def pty_terminate_all(self) -> None:
        """Kill the commands that `pty_exec_start` has started."""
        while self._running:
            _, running = self._running.popitem()
            async with running.process:
                pass  # leaving the block kills the command, and waits until it has exited

    async def _update(self, number: int, wait: int, max_tokens: int | None) -> PtyExecUpdate:
        """Return the output of the next `wait` milliseconds, and the status after the exit."""
        running = self._running[number]
        process = running.process
        left = _MAX_UPDATE

        async def read(deadline: float) -> None:
            nonlocal left
            seconds = deadline - time.monotonic()
            if seconds <= 0:
                return
            if process.stdout.at_eof():
                return
            if left <= 0:
                await asyncio.sleep(seconds)
            else:
                with suppress(ReadTimeout):
                    chunk = await process.stdout.read(min(left, _CHUNK), timeout=seconds)
                    left -= len(chunk)
                    running.rest.append(chunk)

        async def continue_at_once(_: float) -> None:
            """Do nothing, because `read` waits for output."""

        output, tokens, ended = await collect_pty_output(
            output_chunks=running.rest,
            output_lock=running.lock,
            output_notify=asyncio.Event(),
            is_done=process.stdout.at_eof,
            yield_time_ms=wait,
            max_output_tokens=max_tokens,
            poll_output=read,
            wait_for_output=continue_at_once,
        )
        if not ended:
            return PtyExecUpdate(number, output, None, tokens)
        self._running.pop(number, None)
        try:
            code = await process.wait()
        except ExecError as error:  # it could not be started, or exceeded its time limit
            code = error.exit_status
            output += f"{error}\n".encode()
        return PtyExecUpdate(None, output, status(code, None), tokens)


def _milliseconds(seconds: float | None, default: float) -> int:
    return int(1000 * (default if seconds is None else seconds))

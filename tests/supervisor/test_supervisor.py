"""Tests of a supervisor with many clients: those that wait or are silent block no other."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
import time
from collections.abc import Coroutine
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from tests.support.polling import DEADLINE

from microvm.errors import Busy, MicroVMError
from microvm.supervisor import client_connection, server
from microvm.supervisor.client import protocol
from microvm.supervisor.client.blocking import BlockingConnection, connect, connect_to
from microvm.supervisor.runtime_directory import RuntimeDirectory
from microvm.supervisor.supervisor import Supervisor

MOST = 4


async def never() -> None:
    await asyncio.Event().wait()


def serve(runtime: RuntimeDirectory, test: Coroutine[Any, Any, None]) -> None:
    """Run a supervisor whose machine is starting, for the duration of a test."""

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, about: faults.append(about))
        with runtime.create("one") as directory:
            supervising = asyncio.create_task(Supervisor(runtime, directory).supervise(never, {}))
            await asyncio.sleep(0)
            async with asyncio.timeout(DEADLINE):
                await test
            with pytest.raises(MicroVMError, match="one was not started: it was stopped"):
                await supervising

    faults: list[dict[str, Any]] = []
    asyncio.run(run())
    gc.collect()  # the loop learns of an exception that nobody has retrieved
    assert not faults


async def ask(call: str) -> Any:
    with await asyncio.to_thread(connect, "one") as connection:
        return await asyncio.to_thread(connection.ask, call)


def exec_(clients: ExitStack) -> BlockingConnection:
    """Request a command, and wait for its turn."""
    connection = clients.enter_context(connect("one"))
    source = os.open(os.devnull, os.O_RDWR)
    request = protocol.request(call="exec", argv=["true"], options={}, wait=True)
    connection.send(request, (source,) * 3)
    os.close(source)
    return connection


def test_waiting_has_a_limit(runtime: RuntimeDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_MOST_LASTING", MOST)

    async def test() -> None:
        with ExitStack() as clients:
            waiting = [exec_(clients) for _ in range(MOST)]
            while (await ask("facts"))["waiting"] < MOST:
                pass
            with pytest.raises(Busy, match="machine one has too many clients: 4 wait or run"):
                await asyncio.to_thread(exec_(clients).reply)
            with pytest.raises(Busy):
                await ask("wait")
            waiting[0].socket.close()
            while (await ask("facts"))["waiting"] == MOST:
                pass
            exec_(clients)
            while (await ask("facts"))["waiting"] < MOST:
                pass
            await ask("stop")

    serve(runtime, test())


def test_silent_clients_block_no_other(
    runtime: RuntimeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MOST_SILENT", MOST)
    monkeypatch.setattr(client_connection, "TIMEOUT", DEADLINE)

    async def test() -> None:
        with ExitStack() as clients:
            silent = [clients.enter_context(connect("one")) for _ in range(10 * MOST)]
            assert (await ask("facts"))["state"] == "starting"
            with pytest.raises(Busy, match="machine one got no request in time"):
                await asyncio.to_thread(silent[0].reply)
            silent[-1].socket.setblocking(False)
            with pytest.raises(BlockingIOError):
                silent[-1].socket.recv(1)
            await ask("stop")

    serve(runtime, test())


def test_fewer_clients_may_wait_if_few_files_can_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert server.most_lasting() == 14


def test_backlog_may_be_full(runtime: RuntimeDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        runtime.create("one") as directory,
        socket.socket(socket.AF_UNIX) as listener,
        ExitStack() as clients,
    ):
        listener.bind(directory.path("socket"))
        listener.listen(0)
        with suppress(BlockingIOError):
            while True:
                other = clients.enter_context(socket.socket(socket.AF_UNIX))
                other.setblocking(False)
                other.connect(directory.path("socket"))
        monkeypatch.setattr(time, "sleep", lambda _: clients.enter_context(listener.accept()[0]))
        clients.enter_context(connect_to(directory))

"""Tests of the private cluster: other users cannot use it, and its files are removed."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
from distributed import Scheduler, Worker, dashboard
from tests.support.ordinary import USER, only_root

from microvm.dask.cluster import connected
from microvm.errors import MicroVMError


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a TMPDIR in which another user has already created Dask's default folder."""
    folder = tmp_path / "temporary"
    (folder / "dask-scratch-space").mkdir(parents=True)
    folder.chmod(0o1777)
    if os.geteuid() == 0:
        os.chown(folder / "dask-scratch-space", USER, USER)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Replace Dask's dashboard, which needs bokeh; return a list of attempts to serve it."""
    served: list[object] = []

    def connect(*arguments: object, **_: object) -> None:
        served.append(arguments)

    module = ModuleType("distributed.dashboard.scheduler")
    module.connect = connect  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(dashboard, "scheduler", module, raising=False)
    return served


def folders(dask_worker: Worker) -> list[tuple[str, int, int]]:
    """Return the path, mode and owner of a worker's folder and of each of its parents."""
    paths = [Path(dask_worker.local_directory), *Path(dask_worker.local_directory).parents]
    found = [(str(path), path.stat()) for path in paths]
    return [(path, stat.S_IMODE(status.st_mode), status.st_uid) for path, status in found]


def facts(dask_scheduler: Scheduler) -> tuple[int, str]:
    """Return the port of the scheduler's HTTP server, and the scheduler's folder."""
    return dask_scheduler.service_ports["dashboard"], dask_scheduler.local_directory


def port(dask_worker: Worker) -> int:
    return dask_worker.service_ports["dashboard"]  # type: ignore[no-any-return]


async def answer(port: int, page: str) -> bytes:
    """Return the status line with which an HTTP server on this host answers a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {page} HTTP/1.0\r\n\r\n".encode())
    line = await reader.readline()
    writer.close()
    return line


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.thorough
async def test_other_users_cannot_reach_the_cluster(temporary: Path, pages: list[object]) -> None:
    async with connected("local:1", 1) as client:
        http, scratch = await client.run_on_scheduler(facts)
        [above] = (await client.run(folders)).values()
        for each in (http, *(await client.run(port)).values()):
            for page in ("/", "/status", "/health", "/metrics", "/info/main/workers.html"):
                assert await answer(each, page) == b"HTTP/1.1 404 Not Found\r\n"
    assert pages == []
    ours = above[: [path for path, _, _ in above].index(str(temporary))]
    assert {owner for _, _, owner in ours} == {os.geteuid()}
    path, mode, _ = ours[-1]
    assert mode == 0o700
    assert Path(scratch).is_relative_to(path)
    assert names(temporary) == ["dask-scratch-space"]


@only_root
async def test_no_cluster_is_made_in_a_folder_of_another_user(temporary: Path) -> None:
    os.chown(temporary, USER, USER)
    with pytest.raises(MicroVMError, match=f"belongs to user {USER}") as caught:
        async with connected("local:1", 1):
            pass
    assert "TMPDIR" in caught.value.hint

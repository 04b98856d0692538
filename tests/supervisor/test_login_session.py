"""Tests of login sessions and their end; see also tests/vm/test_named_pool.py."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from microvm.supervisor import login_session
from microvm.supervisor.login_session import LoginSession


@pytest.mark.parametrize("is_closing", [True, False])
async def test_session_ends_when_its_user_logs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_closing: bool
) -> None:
    monkeypatch.setattr(login_session, "_SESSIONS", str(tmp_path))
    monkeypatch.setattr(login_session, "_INTERVAL", 0.01)
    monkeypatch.setenv("XDG_SESSION_ID", "c2")
    file = tmp_path / "c2"
    file.write_text("UID=1000\nACTIVE=1\nSTATE=active\n")
    monkeypatch.setattr(os, "getsid", lambda _: os.getppid())  # the session of setsid(2)
    found = login_session.find()
    assert found == {"file": str(file)}
    ended = asyncio.create_task(LoginSession(found).wait_ended())
    await asyncio.sleep(0.05)  # the file is read several times
    assert not ended.done()
    if is_closing:  # processes of the session still run
        file.write_text("UID=1000\nACTIVE=0\nSTATE=closing\n")
    else:
        file.unlink()
    async with asyncio.timeout(10):
        await ended
    assert login_session.find() == {"process": os.getppid()}


# Starts a session, whose second process prints its session after the first process has exited.
ORPHAN = """
import json, os, select
from microvm.supervisor import login_session
ready, wrote = os.pipe()
os.setsid()
if os.fork():
    os.close(wrote)
    os.read(ready, 1)  # until the second process observes this one
else:
    first = os.pidfd_open(os.getppid())
    os.close(wrote)
    select.select([first], [], [])
    print(json.dumps(login_session.find()), flush=True)
"""


def test_session_whose_first_process_has_exited_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("XDG_SESSION_ID", raising=False)
    outer = f"import os\nif os.fork() == 0:\n    exec({ORPHAN!r})"
    done = subprocess.run([sys.executable, "-c", outer], stdout=subprocess.PIPE, check=True)
    assert json.loads(done.stdout) is None

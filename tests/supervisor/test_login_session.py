"""Tests of the end of a login session of systemd; see also tests/vm/test_named_pool.py."""

from __future__ import annotations

import asyncio
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

"""Tests of a QEMU that its guest controls: its messages are limited, and each has a defined result.

A program in the place of QEMU answers and starts a guest as QEMU does, and then sends anything.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.qemu.conftest import Configure, running, start

from microvm.errors import QemuError
from microvm.qemu import process

pytestmark = pytest.mark.usefixtures("_leakless")


PROGRAM = r"""#!/usr/bin/python3 -IS
import json, re, socket, sys, time

port = socket.socket(fileno=int(re.search(r"id=qmp,fd=(\d+)", " ".join(sys.argv))[1]))
version = {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}
greeting = {"QMP": {"version": version, "capabilities": []}}


def event(name, **data):
    return json.dumps({"event": name, "data": data, "timestamp": {}}).encode() + b"\r\n"


def answer(value):
    port.sendall(json.dumps(value).encode() + b"\r\n")


def serve():
    answer(greeting)
    for line in port.makefile():
        answer({"return": {}})
        if json.loads(line)["execute"] == "cont":
            break


"""


@contextmanager
def escaped(monkeypatch: pytest.MonkeyPatch, code: str) -> Iterator[None]:
    """A function that replaces QEMU by such a program."""
    with tempfile.TemporaryDirectory(prefix="microvm-test-", dir="/tmp") as folder:
        path = Path(folder, "qemu-system-x86_64")
        path.write_text(PROGRAM + code)
        for each in path, path.parent:
            each.chmod(0o755)  # QEMU runs as another user, who must read it
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        yield


def resident() -> int:
    """Return the resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["SHUTDOWN", "STOP", "BLOCK_IO_ERROR", "RTC_CHANGE"])
async def test_a_flood_of_events_takes_no_memory(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    flood = f"""
serve()
many = event("{name}", reason="x" * 200, action="report") * 100
for _ in range(400):
    port.sendall(many)
"""
    with escaped(monkeypatch, flood):
        async with running(configure(confinement="off")) as qemu:
            before = resident()
            await qemu.wait()
            assert resident() - before < 16


GARBAGE = {
    "a line without end": 'port.sendall(b"[" * (1 << 20))',
    "a line too deep": r'port.sendall(b"[" * 60000 + b"\n")',
    "a number too long": r'port.sendall(b"1" * 60000 + b"\n")',
    "no text": r'port.sendall(b"\xff\xfe\x00\n")',
    "no object": r'port.sendall(b"1\n")',
    "an event without data": r'port.sendall(b"{\"event\": \"SHUTDOWN\"}\n")',
    "a reason that is none": 'port.sendall(event("SHUTDOWN", reason=[]))',
}


@pytest.mark.parametrize("code", GARBAGE.values(), ids=GARBAGE)
async def test_invalid_qmp_kills_qemu(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    served = f"\nserve()\ntry:\n    {code}\nfinally:\n    time.sleep(600)\n"
    with escaped(monkeypatch, served):
        async with running(configure(confinement="off")) as qemu:
            ending = await qemu.wait()
            assert (ending.kind, ending.text) == ("killed", "QEMU sent invalid QMP")


GREETINGS = {
    "garbage": r'port.sendall(b"\x1b[2J" * 20000 + b"\n")',
    "no version": "version.clear(); serve()",
    "no number": 'version["qemu"]["major"] = "\\x1b[2J"; serve()',
    "an error": r"""
answer(greeting)
port.recv(1000)
answer({"error": {"class": "x", "desc": "\x1b[2J\ud800" * 5000}})
""",
}


@pytest.mark.parametrize("code", GREETINGS.values(), ids=GREETINGS)
async def test_wrong_greeting_is_a_printable_error(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(process, "_DRAIN_TIMEOUT", 0.1)
    with escaped(monkeypatch, f"\n{code}\ntime.sleep(600)\n"), pytest.raises(QemuError) as caught:
        await start(configure(confinement="off"))
    message = caught.value.message
    assert message.isprintable()
    assert len(message) < 1000


async def test_a_flood_on_standard_error_takes_no_memory(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    flood = r"""
serve()
for _ in range(100):
    sys.stderr.write("x" * (1 << 20))
sys.stderr.write("\x1b[2Jgoodbye")
sys.exit(1)
"""
    with escaped(monkeypatch, flood):
        async with running(configure(confinement="off")) as qemu:
            before = resident()
            ending = await qemu.wait()
            assert resident() - before < 16
            assert ending.text.endswith("goodbye")
            assert ending.text.isprintable()
            assert len(ending.text) < 10_000

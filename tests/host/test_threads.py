"""Test of a host on which no more threads can be started, because of a limit of processes."""

from __future__ import annotations

import sys

import pytest
from tests.support.captured import captured

# Root has no such limit, so the process first becomes nobody, after all imports.
LIMITED = """
import asyncio, os, resource, sys, threading
from microvm import errors
from microvm.concurrency import threads
from microvm.guest import stdio
from microvm.cli.verbs import run
from microvm.cli import root
asyncio.run(asyncio.to_thread(int))
if os.getuid() == 0:
    os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
"""

WRITES = """
reader, writer = os.pipe()
try:
    asyncio.run(stdio.write(writer, b"x"))
except errors.MicroVMError as error:
    sys.exit(str(error))
"""

WAITS = """
async def main():
    try:
        await threads.in_thread(int)
    except errors.MicroVMError as error:
        os.write(2, str(error).encode())
        os._exit(1)
asyncio.run(main())
"""

ENDS = """
@root.cli.command()
def thread():
    threading.Thread(target=int).start()
root._VERBS["thread"] = ("thread", "")
sys.modules["microvm.cli.verbs.thread"] = root
root.thread = thread
sys.argv = ["microvm", "thread"]
root.main()
"""


@pytest.mark.parametrize(("program", "status"), [(WRITES, 1), (WAITS, 1), (ENDS, 125)])
def test_failure_to_start_a_thread_has_a_hint(program: str, status: int) -> None:
    command = [sys.executable, "-c", LIMITED + program]
    ended = captured(command)
    assert "this host does not allow more threads (raise the limit on processes" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.returncode == status

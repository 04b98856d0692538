"""Tests of the tools of `microvm mcp`, which the client of the official SDK calls over stdio."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.frameworks.mcp_server import over_stdio
from tests.support.python_image import python_image

from microvm.images import Image

SERVE = """\
nc -lk -p 7000 -e cat /srv/page.html >/dev/null 2>&1 &
while ! netstat -ltn | grep -q :7000; do :; done
"""


@pytest.fixture(scope="module")
def with_python(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image with the host's own Python."""
    return python_image(tmp_path_factory.mktemp("python"))


@pytest.mark.deadline(120)
async def test_python_variables_are_in_forks_and_snapshots(with_python: Image) -> None:
    async with over_stdio("--image", str(with_python.path)) as caller:
        assert await caller.call("run_python", code="x = 20\nx + 1") == "21"
        assert await caller.call("run_python", code="display([1, 2]); print('a')") == "a\n[1, 2]"
        assert len(await caller.call("run_python", code="print('x' * 30000)")) == 30000
        assert "ZeroDivisionError" in await caller.call("run_python", code="x = 30\n1 / 0")
        assert await caller.call("fork") == "Started fork-1."
        assert await caller.call("checkpoint") == "snapshot-2 is saved."
        assert await caller.call("run_python", code="x = 40")
        assert await caller.call("run_python", code="x", machine="fork-1") == "30"
        started = await caller.call("start_machine", snapshot="snapshot-2")
        assert started == "machine-3 has started."
        assert await caller.call("run_python", code="x", machine="machine-3") == "30"
        dying = "import os; os.system('echo one; echo two >&2'); print('x' * 40000); os._exit(3)"
        died = await caller.fail("run_python", code=dying)
        assert died.startswith("one\nxxx")
        assert "bytes are cut here" in died
        assert "xxx\ntwo\n[Python has died, and its variables are lost" in died
        assert "restart" not in died
        assert "NameError" in await caller.call("run_python", code="x")
        kill = "pkill -9 -f interpreter.py; while pgrep -f interpreter.py; do sleep 0.1; done"
        await caller.call("run_command", command=kill)
        assert "variables are lost" in await caller.fail("checkpoint")
        saved = (await caller.call("checkpoint")).split()[0]
        await caller.call("stop", name=saved)
        assert await caller.call("run_python", code="1") == "1"
        name = (await caller.call("fork")).split()[1].rstrip(".")
        await caller.call("run_command", command=kill, machine=name)
        assert "variables are lost" in await caller.fail("run_python", code="1", machine=name)
        assert await caller.call("run_python", code="1", machine=name) == "1"
        assert "time limit" in await caller.call("run_python", code="while True: pass", timeout=1)


async def test_commands_and_files() -> None:
    async with over_stdio("--max-result", "1K") as caller:
        result = await caller.call("run_command", command="echo out; echo err >&2; exit 3")
        assert result == "out\nerr\n[exit status 3]"
        result = await caller.call("run_command", command="sleep 60", timeout=0.5)
        assert result.startswith("[killed after 0.5 s, its time limit")
        result = await caller.call("run_command", command="seq 10000")
        assert result.startswith("1\n2\n")
        assert "\n[… 47870 of 48894 bytes are cut here …]\n" in result
        assert result.endswith("\n9999\n10000\n[exit status 0]")

        lines = "".join(f"line {number}\n" for number in range(1, 201))
        assert await caller.call("write_file", path="a/b", content=lines) == "Wrote 1692 bytes."
        first = await caller.call("read_file", path="a/b")
        assert first.endswith("line 125\n[lines 1 to 125 of 200; read on with first_line=126]")
        rest = await caller.call("read_file", path="a/b", first_line=126)
        assert rest.startswith("line 126\n")
        assert rest.endswith("line 200\n[lines 126 to 200 of 200]")
        await caller.call("run_command", command="ln -s b a/link; mkdir a/c; printf '\\377' >a/raw")
        listed = "b (1692 bytes)\nc/\nlink -> b\nraw (1 bytes)"
        assert await caller.call("list_files", path="a") == listed
        await caller.call("run_command", command="yes | head -c 3000 | tr -d '\\n' >a/long")
        long = await caller.call("read_file", path="a/long")
        assert "bytes are cut here" in long
        assert "use run_command with `cut -b`" in long
        assert "no UTF-8 text" in await caller.fail("read_file", path="a/raw")
        assert "a/none: No such file" in await caller.fail("read_file", path="a/none")
        assert "python3: not found" in await caller.fail("run_python", code="1")


async def test_background_command_continues_in_fork() -> None:
    script = "echo one; while [ ! -e go ]; do sleep 0.1; done; echo two; exit 4"
    async with over_stdio() as caller:
        started = await caller.call("start_background", command=script)
        process = int(started.split()[1])
        for name in ("main", "fork-1"):
            if name != "main":
                assert await caller.call("fork") == "Started fork-1."
            first = await caller.call("read_output", process=process, machine=name, wait=1)
            assert first == "one\n[running; later output is at position 4]"
        await caller.call("run_command", command="touch go", machine="fork-1")
        done = await caller.call(
            "read_output", process=process, machine="fork-1", position=4, wait=30
        )
        assert done == "two\n[exit status 4; later output is at position 8]"
        assert "one\n[running" in await caller.call("read_output", process=process)
        assert "no such process" in await caller.fail("read_output", process=99999)
        folder = "/tmp/.microvm-background"
        await caller.call("run_command", command=f"ln -sfn evil {folder}/{process}/status")
        assert "been changed" in await caller.fail("read_output", process=process)
        await caller.call("run_command", command=f"rm -r {folder}; touch {folder}")
        assert "cannot start" in await caller.fail("start_background", command="true")


async def test_killed_background_command_has_exited() -> None:
    async with over_stdio() as caller:
        for kill, state in (
            ("kill -- -{}", "exit status 143"),
            ("pkill -9 -f '[s]leep 1000'", "killed, with an unknown exit status"),
        ):
            started = await caller.call("start_background", command="sleep 1000; true")
            process = int(started.split()[1])
            assert "running" in await caller.call("read_output", process=process)
            await caller.call("run_command", command=kill.format(process))
            ended = await caller.call("read_output", process=process, wait=30)
            assert ended == f"[{state}; later output is at position 0]"


async def test_fork_waits_for_reads_of_output() -> None:
    async with over_stdio() as caller:
        process = int((await caller.call("start_background", command="sleep 1000")).split()[1])
        reads = [caller.call("read_output", process=process) for _ in range(10)]
        await asyncio.gather(*reads[:5], caller.call("fork"), *reads[5:])


async def test_full_folder_does_not_hide_exit_status() -> None:
    async with over_stdio() as caller:
        await caller.call("run_command", command="mount -t tmpfs -o size=64k none /tmp")
        fill = "cat /dev/zero >/tmp/full; exit 3"
        process = int((await caller.call("start_background", command=fill)).split()[1])
        ended = await caller.call("read_output", process=process, wait=30)
        assert "[exit status 3; " in ended


async def test_slow_machine_does_not_delay_end_of_wait() -> None:
    async with over_stdio() as caller:
        slow = "#!/bin/sh\nexec /bin/sleep 1000\n"
        await caller.call("write_file", path="/usr/local/bin/sleep", content=slow)
        await caller.call("run_command", command="chmod +x /usr/local/bin/sleep")
        process = int((await caller.call("start_background", command="sleep 1")).split()[1])
        assert "[running" in await caller.call("read_output", process=process, wait=2)


async def test_ports_and_shared_folder(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/page.html").write_text("hello")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "shared/link").symlink_to(tmp_path / "secret")
    options = ("--allow-ports", "--share", str(tmp_path / "shared"))
    async with over_stdio(*options) as caller:
        await caller.call("copy_from_host", source="page.html", target="/srv/")
        await caller.call("run_command", command=SERVE)
        url = await caller.call("forward_port", port=7000)
        assert url == await caller.call("forward_port", port=7000)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        assert await reader.read() == b"hello"
        writer.close()
        for source in ("../secret", "link", str(tmp_path / "secret")):
            refusal = await caller.fail("copy_from_host", source=source, target="/srv/")
            assert "outside of the shared folder" in refusal
        os.mkfifo(tmp_path / "shared/fifo")
        refusal = await caller.fail("copy_from_host", source="fifo", target="/srv/")
        assert "neither a file nor a folder" in refusal
        nul = await caller.fail("copy_from_host", source="a\0b", target="/srv/")
        assert "Wrong arguments" in nul
        missing = await caller.fail("copy_from_host", source="none", target="/srv/")
        assert "No such file" in missing
        calls = [caller.client.call_tool("forward_port", {"port": 8000 + n}) for n in range(40)]
        results = await asyncio.gather(*calls)
        assert sum(not each.is_error for each in results) == 15

"""Tests that no client of `microvm mcp` can exceed the limits of the server."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path

from mcp_types import INVALID_PARAMS
from tests.frameworks.mcp_server import command, over_stdio, own_server
from tests.support.killing import qemus
from tests.support.polling import comes_true

from microvm.cli.mcp.limits import MAX_COMMAND_LINE
from microvm.concurrency.tasks import cancel
from microvm_image import default


async def test_server_without_permissions_lacks_their_tools() -> None:
    async with over_stdio("--max-snapshots", "0") as caller:
        tools = {tool.name for tool in (await caller.client.list_tools()).tools}
        assert tools == {
            *("run_command", "run_python", "start_background", "read_output"),
            *("read_file", "write_file", "list_files", "start_machine", "stop"),
        }
        for name in ("fork", "checkpoint", "forward_port", "copy_from_host", "_seconds"):
            assert "no such tool" in await caller.fail(name)


async def test_page_names_each_tool(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/mcp.md").read_text()
    table = page.partition("## Tools")[2].partition("\n\nA tool")[0]
    named = re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines()[4:]))
    async with over_stdio("--allow-ports", "--share", str(tmp_path)) as caller:
        tools = (await caller.client.list_tools()).tools
    assert sorted(named) == sorted(tool.name for tool in tools)
    assert all(tool.description for tool in tools)


async def test_client_cannot_exceed_numbers_of_machines_and_snapshots() -> None:
    async with over_stdio("--max-machines", "2", "--max-snapshots", "1") as caller:
        assert "Too many machines" in await caller.fail("fork", count=2)
        assert await caller.call("fork") == "Started fork-3."
        for tool in ("start_machine", "fork"):
            assert "the server allows 2" in await caller.fail(tool)
        assert len(qemus(own_server())) == 2
        await caller.call("stop", name="fork-3")
        assert len(qemus(own_server())) == 1
        saved = (await caller.call("checkpoint")).split()[0]
        for tool in ("checkpoint", "fork"):
            assert "Too many snapshots" in await caller.fail(tool)
        await caller.call("start_machine", snapshot=saved)
        await caller.call("stop", name=saved)
        assert "no snapshot" in await caller.fail("start_machine", snapshot=saved)
        assert "no machine" in await caller.fail("stop", name=saved)


async def test_wrong_arguments_are_errors_of_the_tool() -> None:
    async with over_stdio("--timeout", "5s") as caller:
        for arguments in (
            {},
            {"command": 1},
            {"command": "true", "timeout": -1},
            {"command": "true", "unknown": 1},
            {"command": "x" * (MAX_COMMAND_LINE + 1)},
        ):
            assert "Wrong arguments" in await caller.fail("run_command", **arguments)
        assert qemus(own_server()) == []
        too_long = await caller.fail("run_command", command="true", timeout=6)
        assert "at most 5 seconds" in too_long
        assert "does not allow" in await caller.fail("start_machine", image="python")
        assert "no machine" in await caller.fail("run_command", command="true", machine="other")
        # more bytes than characters
        longest = "é" * MAX_COMMAND_LINE
        assert "at most 131071" in await caller.fail("run_command", command=longest)
        assert "NUL" in await caller.fail("run_command", command="a\0b")
        assert await caller.call("run_command", command="echo on") == "on\n[exit status 0]"


async def test_image_can_have_a_long_name(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    image = folder / "image"
    image.symlink_to(default().path)
    async with over_stdio("--allow-image", str(image)) as caller:
        await caller.call("start_machine", image=str(image))


async def test_failed_machine_is_replaced() -> None:
    async with over_stdio("--max-machines", "1") as caller:
        crash = "echo c >/proc/sysrq-trigger"
        assert "has failed and is deleted" in await caller.fail("run_command", command=crash)
        assert await caller.call("run_command", command="echo on") == "on\n[exit status 0]"


async def test_too_many_commands_are_refused() -> None:
    async with over_stdio() as caller:
        await caller.call("run_command", command="true")
        endless = {"command": "sleep 1000"}
        calls = [
            asyncio.create_task(caller.client.call_tool("run_command", endless)) for _ in range(20)
        ]
        await comes_true(lambda: sum(each.done() for each in calls) == 4)
        for call in calls:
            assert not call.done() or call.result().is_error
        await cancel(calls)


def test_garbage_ends_nothing_but_its_session() -> None:
    lines = [b"\xff\xfe", b"[]", b"{}", b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call"}']
    data = b"".join(line + b"\n" for line in lines)
    done = subprocess.run(command(), input=data, capture_output=True, timeout=60, check=True)
    [answer] = map(json.loads, done.stdout.splitlines())
    assert answer["id"] == 1
    assert answer["error"]["code"] == INVALID_PARAMS
    assert b"Traceback" not in done.stderr


def test_too_long_message_ends_the_server() -> None:
    data = b"x" * (65 << 20)
    done = subprocess.run(command(), input=data, capture_output=True, timeout=60, check=False)
    assert b"a line is longer than" in done.stderr
    assert b"Traceback" not in done.stderr

"""Tests of what Inspect's own checks leave out: samples, remote commands and failures."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from signal import SIGKILL

import pytest
import pytest_asyncio
from inspect_ai.util import (
    ExecCompleted,
    ExecRemoteAwaitableOptions,
    ExecRemoteStreamingOptions,
    ExecStderr,
    ExecStdout,
    OutputLimitExceededError,
    SandboxUnavailableError,
)
from inspect_ai.util._sandbox.limits import override_max_exec_output_size
from pydantic import ValidationError

from microvm.frameworks.inspect_ai import InspectSandbox, MicroVMConfig


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared() -> AsyncIterator[InspectSandbox]:
    """A sandbox of the default image."""
    environments = await InspectSandbox.sample_init("test", None, {})
    yield environments["default"].as_type(InspectSandbox)
    await InspectSandbox.sample_cleanup("test", None, environments, False)


async def test_output_arrives_while_the_command_runs(shared: InspectSandbox) -> None:
    options = ExecRemoteStreamingOptions(stdin_open=True, input="a\n")
    process = await shared.exec_remote(["cat"], options)
    assert await anext(process) == ExecStdout("a\n")
    await process.write_stdin("b\n")
    assert await anext(process) == ExecStdout("b\n")
    await process.close_stdin()
    assert [event async for event in process] == [ExecCompleted(0)]


async def test_remote_command_reports_both_streams_and_its_exit_code(
    shared: InspectSandbox,
) -> None:
    script = "printf '\\303'; sleep 0.3; printf '\\251\\377'; echo no >&2; kill -TERM $$"
    events = [event async for event in await shared.exec_remote(["sh", "-c", script])]
    assert events[-1] == ExecCompleted(143)
    assert "".join(each.data for each in events if isinstance(each, ExecStdout)) == "é\ufffd"
    assert "".join(each.data for each in events if isinstance(each, ExecStderr)) == "no\n"


async def test_missing_program_of_remote_command_is_a_result(shared: InspectSandbox) -> None:
    events = [event async for event in await shared.exec_remote(["no-such-program"])]
    assert isinstance(events[0], ExecStderr)
    assert "no-such-program: not found" in events[0].data
    assert events[1:] == [ExecCompleted(127)]


async def test_killed_command_leaves_its_output_and_no_process(shared: InspectSandbox) -> None:
    process = await shared.exec_remote(["sh", "-c", "echo first; exec sleep 4321"])
    await shared.exec(["sh", "-c", "until ps | grep '[s]leep 4321'; do :; done"])
    await process.kill()
    await process.kill()
    assert [event async for event in process] == [ExecStdout("first\n")]
    assert "sleep 4321" not in (await shared.exec(["ps"])).stdout


async def test_cancelled_iteration_kills_the_command(shared: InspectSandbox) -> None:
    process = await shared.exec_remote(["sh", "-c", "echo ready; exec sleep 1234"])
    assert await anext(process) == ExecStdout("ready\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(process), 0.2)
    assert "sleep 1234" not in (await shared.exec(["ps"])).stdout


async def test_awaited_remote_command_has_a_timeout(shared: InspectSandbox) -> None:
    result = await shared.exec_remote(["echo", "hello"], stream=False)
    assert (result.success, result.stdout) == (True, "hello\n")
    with pytest.raises(TimeoutError):
        await shared.exec_remote(
            ["sleep", "30"], ExecRemoteAwaitableOptions(timeout=0.5), stream=False
        )


async def test_output_beyond_the_limit_is_an_error(shared: InspectSandbox) -> None:
    with override_max_exec_output_size(1024), pytest.raises(OutputLimitExceededError) as error:
        await shared.exec(["sh", "-c", "while :; do echo much; done"])
    assert (error.value.truncated_output or "").startswith("much\nmuch\n")
    assert "limit of 1 KiB" in str(error.value)


def test_image_and_snapshot_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="cannot be used together"):
        MicroVMConfig(image="python", snapshot="prepared")


async def test_ended_machine_is_an_unavailable_sandbox() -> None:
    environments = await InspectSandbox.sample_init("test", MicroVMConfig(), {})
    ended = environments["default"].as_type(InspectSandbox)
    try:
        process = await ended.exec_remote(["sleep", "100"])
        assert ended.vm.pid
        os.kill(ended.vm.pid, SIGKILL)
        with pytest.raises(SandboxUnavailableError):
            async for _ in process:
                pass
        with pytest.raises(SandboxUnavailableError):
            await ended.exec(["true"])
        with pytest.raises(SandboxUnavailableError):
            await ended.write_file("/tmp/file", "text")
    finally:
        await InspectSandbox.sample_cleanup("test", None, environments, True)


def test_unknown_key_of_a_configuration_is_an_error() -> None:
    with pytest.raises(ValidationError):
        InspectSandbox.config_deserialize({"imgae": "python"})

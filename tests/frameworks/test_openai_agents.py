"""Tests of the sandbox client for OpenAI Agents.

`test_runner_continues_after_a_pause` expresses a part of what the framework's own integration test
tests/sandbox/integration_tests/test_runner_pause_resume.py of version 0.24 expects of its local
sandbox.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from agents import RunConfig, Runner, RunState, function_tool, set_tracing_disabled
from agents.editor import ApplyPatchOperation
from agents.items import ToolCallOutputItem
from agents.result import RunResult
from agents.sandbox import Manifest, SandboxAgent, SandboxRunConfig
from agents.sandbox.capabilities import Capability
from agents.sandbox.entries import BaseEntry, Dir, File, LocalDir, LocalFile
from agents.sandbox.errors import (
    ExecTimeoutError,
    ExecTransportError,
    InvalidManifestPathError,
    PtySessionNotFoundError,
    WorkspaceArchiveReadError,
    WorkspaceArchiveWriteError,
    WorkspaceReadNotFoundError,
)
from agents.sandbox.session import SandboxSession
from agents.sandbox.session.base_sandbox_session import BaseSandboxSession
from agents.sandbox.session.pty_types import PtyExecUpdate
from agents.sandbox.snapshot import LocalSnapshotSpec
from agents.sandbox.types import User
from agents.sandbox.workspace_paths import SandboxPathGrant
from agents.testing import ScriptedModel, assistant_message, function_call
from agents.tool import Tool
from tests.frameworks.pages import names_of

from microvm.frameworks.openai_agents import (
    MicroVMSandboxClient,
    MicroVMSandboxClientOptions,
    MicroVMSandboxSessionState,
)
from microvm.start import snapshots

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.deadline(120)]

set_tracing_disabled(True)  # or the framework sends traces to its maker

ECHO = "echo ready; while read line; do echo got:$line; done"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def session() -> AsyncIterator[SandboxSession]:
    client = MicroVMSandboxClient()
    manifest = Manifest(entries={"a.txt": File(content=b"one\n")}, users=[User(name="worker")])
    options = MicroVMSandboxClientOptions(exposed_ports=(8000,))
    session = await client.create(manifest=manifest, options=options)
    async with session:
        yield session
    assert not await session.running()
    await client.delete(session)


async def output_until(text: bytes, update: PtyExecUpdate, session: BaseSandboxSession) -> bytes:
    """Return the output of a command, from an update to the text at the end of a later one."""
    output = update.output
    while not output.endswith(text):
        assert update.process_id, output
        update = await session.pty_write_stdin(session_id=update.process_id, chars="")
        output += update.output
    return output


async def test_exec_returns_streams_and_status(session: SandboxSession) -> None:
    run = await session.exec("cat a.txt; pwd; printf '\\377' >&2; exit 3")
    assert (run.stdout, run.stderr, run.exit_code) == (b"one\n/workspace\n", b"\xff", 3)
    assert (await session.exec("absent", shell=False)).exit_code == 127
    assert (await session.exec("kill -9 $$")).exit_code == 137
    assert (await session.exec("id", "-un", user="worker")).stdout == b"worker\n"
    with pytest.raises(ExecTimeoutError):
        await session.exec("sleep 60", timeout=0.5)
    with pytest.raises(ExecTransportError, match="more than 64"):
        await session.exec("head -c 70000000 /dev/zero")


async def test_files_are_written_read_and_confined(session: SandboxSession) -> None:
    path = Path("folder/b.txt")
    await session.write(path, io.BytesIO(b"\0two"))
    assert (await session.read(path)).read() == b"\0two"
    assert [entry.path for entry in await session.ls("folder")] == ["/workspace/folder/b.txt"]
    await session.mv(path, "c.txt")
    with pytest.raises(WorkspaceReadNotFoundError):
        await session.read(path)
    await session.rm("c.txt")
    with pytest.raises(WorkspaceArchiveReadError):
        await session.read(Path("folder"))
    with pytest.raises(WorkspaceArchiveWriteError):
        await session.write(Path("a.txt/x"), io.BytesIO())
    with pytest.raises(WorkspaceArchiveWriteError):
        await session.write(Path("denied"), io.BytesIO(), user="worker")
    await session.exec("ln -s /etc/passwd escape")
    for outside in ("../x", "/etc/passwd", "escape"):
        with pytest.raises(InvalidManifestPathError):
            await session.read(Path(outside))


async def test_terminals_take_input_until_they_end(session: SandboxSession) -> None:
    update = await session.pty_exec_start(ECHO, tty=True, yield_time_s=1)
    number = update.process_id
    assert number
    assert await output_until(b"ready\r\n", update, session) == b"ready\r\n"
    update = await session.pty_write_stdin(session_id=number, chars="hi\n", yield_time_s=1)
    assert await output_until(b"got:hi\r\n", update, session) == b"hi\r\ngot:hi\r\n"
    update = await session.pty_write_stdin(session_id=number, chars="\x03", yield_time_s=10)
    assert (update.output[:2], update.exit_code, update.process_id) == (b"^C", 130, None)
    with pytest.raises(PtySessionNotFoundError):
        await session.pty_write_stdin(session_id=number, chars="")


async def test_commands_run_beside_others_without_a_terminal(session: SandboxSession) -> None:
    update = await session.pty_exec_start("echo 1; echo 2 >&2; exit 4")
    assert (update.output, update.exit_code, update.process_id) == (b"1\n2\n", 4, None)
    update = await session.pty_exec_start("absent", shell=False)
    assert (update.output, update.exit_code) == (b"absent: not found in the guest's PATH\n", 127)
    update = await session.pty_exec_start("sleep 60", timeout=0.5)
    assert b"timed out after 0.5 s" in update.output
    assert update.exit_code == 124
    update = await session.pty_exec_start("exec >&- 2>&-; sleep 60", yield_time_s=0.3)
    assert (update.output, update.exit_code) == (b"", None)
    assert update.process_id
    with pytest.raises(RuntimeError, match="stdin"):
        await session.pty_write_stdin(session_id=update.process_id, chars="x")
    assert (await session.exec("true")).ok()
    await session.pty_terminate_all()
    with pytest.raises(PtySessionNotFoundError):
        await session.pty_write_stdin(session_id=update.process_id, chars="")


async def test_endless_output_is_bounded_in_each_update(session: SandboxSession) -> None:
    update = await session.pty_exec_start("yes", yield_time_s=1)
    assert 0 < len(update.output) <= 1 << 20
    await session.pty_terminate_all()


async def test_exposed_port_reaches_the_server(session: SandboxSession) -> None:
    await session.exec("nohup python3 -m http.server 8000 >/dev/null 2>&1 &")
    endpoint = await session.resolve_exposed_port(8000)
    assert endpoint.host == "127.0.0.1"
    answer = b""
    while not answer:
        try:
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            writer.write(b"GET /a.txt HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
        except ConnectionError:
            await asyncio.sleep(0.1)  # the server is not ready
    assert answer.endswith(b"\r\n\r\none\n")


class Probe(Capability):
    """Tools that read and change files in the session of the agent."""

    type: str = "probe"

    def __init__(self) -> None:
        super().__init__(type="probe")

    async def text(self, path: str) -> str:
        assert self.session
        return bytes((await self.session.read(Path(path))).read()).decode()

    def tools(self) -> list[Tool]:
        async def materialized(session: BaseSandboxSession) -> None:
            names = ("inline.txt", "tree/brief.txt", "file.txt", "copy/deep/c.txt")
            assert [await self.text(name) for name in names] == ["v1\n", "brief\n", "f", "c"]

        async def patched(session: BaseSandboxSession) -> None:
            done = await session.apply_patch(
                [
                    ApplyPatchOperation(
                        type="update_file", path="inline.txt", diff="@@\n-v1\n+v2\n"
                    ),
                    ApplyPatchOperation(type="delete_file", path="gone.txt"),
                ]
            )
            assert done == "Done!"

        async def extracted(session: BaseSandboxSession) -> None:
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w") as tar:
                info = tarfile.TarInfo("unpacked/hello.txt")
                info.size = 5
                tar.addfile(info, io.BytesIO(b"hello"))
            archive.seek(0)
            await session.extract("bundle.tar", archive)

        async def restored(session: BaseSandboxSession) -> None:
            names = ("inline.txt", "unpacked/hello.txt", "tree/brief.txt", "copy/deep/c.txt")
            assert [await self.text(name) for name in names] == ["v2\n", "hello", "brief\n", "c"]
            with pytest.raises(WorkspaceReadNotFoundError):
                await self.text("gone.txt")

        def made(check: Any) -> Tool:
            @function_tool(name_override=check.__name__, failure_error_function=None)
            async def run() -> str:
                assert self.session
                await check(self.session)
                return f"{check.__name__}: done"

            return run

        return list(map(made, (materialized, patched, extracted, restored)))


@pytest.mark.parametrize("persistence", ["tar", pytest.param("snapshot", marks=pytest.mark.long)])
async def test_runner_continues_after_a_pause(
    tmp_path: Path, persistence: Literal["tar", "snapshot"]
) -> None:
    sources = tmp_path / "sources"
    (sources / "folder/deep").mkdir(parents=True)
    (sources / "file.txt").write_text("f")
    (sources / "folder/deep/c.txt").write_text("c")
    tree: dict[str | Path, BaseEntry] = {"brief.txt": File(content=b"brief\n", ephemeral=True)}
    manifest = Manifest(
        extra_path_grants=(SandboxPathGrant(path=str(sources)),),
        entries={
            "inline.txt": File(content=b"v1\n"),
            "gone.txt": File(content=b"gone\n"),
            "tree": Dir(children=tree),
            "file.txt": LocalFile(src=sources / "file.txt"),
            "copy": LocalDir(src=sources / "folder"),
        },
    )

    @function_tool(needs_approval=True)
    def ask() -> str:
        return "approved"

    def agent(*steps: Any) -> SandboxAgent:
        return SandboxAgent(
            name="tester",
            model=ScriptedModel(steps),
            default_manifest=manifest,
            tools=[ask],
            capabilities=[Probe()],
        )

    config = RunConfig(
        sandbox=SandboxRunConfig(
            client=MicroVMSandboxClient(),
            options=MicroVMSandboxClientOptions(workspace_persistence=persistence),
            snapshot=LocalSnapshotSpec(base_path=tmp_path),
        )
    )
    names = ("materialized", "patched", "extracted")
    before = agent(*([function_call(name, {}, call_id=name)] for name in (*names, "ask")))
    paused = await Runner.run(before, "begin", run_config=config)
    assert outputs(paused) == [f"{name}: done" for name in names]
    state = paused.to_state().to_json()
    name = f"openai-{state['sandbox']['session_state']['session_id'].replace('-', '')[:12]}"

    after = agent(
        [function_call("restored", {}, call_id="restored")], [assistant_message("the end")]
    )
    continued: RunState[Any] = await RunState.from_json(after, state)
    (interruption,) = continued.get_interruptions()
    continued.approve(interruption)
    ended = await Runner.run(after, continued, run_config=config)
    assert ended.final_output == "the end"
    assert outputs(ended)[-2:] == ["approved", "restored: done"]
    if persistence == "snapshot":
        snapshots.STORE.remove(name)


def outputs(result: RunResult) -> list[str]:
    return [item.output for item in result.new_items if isinstance(item, ToolCallOutputItem)]


async def test_snapshot_keeps_running_processes(tmp_path: Path) -> None:
    client = MicroVMSandboxClient()
    options = MicroVMSandboxClientOptions(workspace_persistence="snapshot")
    session = await client.create(snapshot=LocalSnapshotSpec(base_path=tmp_path), options=options)
    async with session:
        await session.exec(
            "nohup sh -c 'while :; do sleep 1; date +%s >beat; done' >/dev/null 2>&1 &"
        )
    await client.delete(session)
    state = client.deserialize_session_state(client.serialize_session_state(session.state))
    async with await client.resume(state) as resumed:
        assert (await resumed.pty_exec_start("sleep 60", yield_time_s=0.3)).process_id
        await resumed.exec("rm -f beat; until [ -s beat ]; do sleep 0.2; done", timeout=30)
    assert isinstance(state, MicroVMSandboxSessionState)
    snapshots.STORE.remove(state.machine_snapshot)


async def test_example_of_the_page_computes() -> None:
    command = {"cmd": "python3 -c 'print(6 * 7)'; cat numbers.txt"}
    call = function_call("exec_command", command, call_id="1")
    model = ScriptedModel([[call], [assistant_message("42")]])
    result = await names_of("openai_agents")["ask"](model, "What is 6 times 7?")
    assert result.final_output == "42"
    assert "42\n6\n7" in outputs(result)[0]

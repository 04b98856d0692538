"""Tests of `run`, which is like `subprocess.run`: captured output, text, checks, input."""

from __future__ import annotations

import asyncio
import os
from errno import EACCES, ENOENT
from signal import SIGKILL
from subprocess import CalledProcessError
from typing import Any

import pytest
from tests.support.peer import SOON, Peer, answered, greeted

from microvm.errors import ExecTimeout, StartError
from microvm.guest.guest import Guest
from microvm.guest.process import CompletedProcess
from microvm.guest.run import run
from microvm.wire import codec
from microvm.wire.codec import Ending, Stage, Stream


async def test_run_captures_both_streams_and_the_exit_code(guest: Guest, peer: Peer) -> None:
    async def script() -> None:
        request = await peer.expect(codec.ExecRequest)
        assert request.argv == (b"sh", b"-c", b"x")
        await peer.write(Stream.STDOUT, b"out\n")
        await peer.write(Stream.STDERR, b"\xfferr")
        await peer.write(Stream.STDOUT, b"more")
        await peer.exit(3)

    result = await answered(run(guest, ["sh", "-c", "x"]), script())
    assert result == CompletedProcess(["sh", "-c", "x"], 3, b"out\nmore", b"\xfferr")


@pytest.mark.parametrize(
    ("stage", "errno", "says"),
    [
        (Stage.CHDIR, 13, "cannot enter its working directory"),
        (Stage.EXEC, 2**32 - 1, "errno 4294967295"),
        (99, 2, "stage 99 failed"),
    ],
)
async def test_failed_start_reports_step_and_reason(
    guest: Guest, peer: Peer, stage: int, errno: int, says: str
) -> None:
    async def script() -> None:
        await peer.expect(codec.ExecRequest)
        await peer.say(codec.ExecFailed(peer.id, stage, errno))

    with pytest.raises(StartError, match=says) as caught:
        await answered(run(guest, ["ls"], cwd="/x"), script())
    assert caught.value.errno == errno
    assert caught.value.stage == (stage.name.lower() if isinstance(stage, Stage) else "stage 99")


@pytest.mark.parametrize(
    ("stage", "errno", "status", "says"),
    [
        (Stage.LOOKUP, ENOENT, 127, "é: not found in the guest's PATH\n"),
        (Stage.EXEC, ENOENT, 127, "é: No such file or directory in the guest\n"),
        (Stage.INTERPRETER, ENOENT, 127, "é: the file exists, but its interpreter /x does not\n"),
        (Stage.EXEC, EACCES, 126, "é: Permission denied\n"),
    ],
)
@pytest.mark.parametrize("encoding", [None, "utf-16", "ascii"])
async def test_failed_start_can_be_a_result(
    guest: Guest, peer: Peer, stage: Stage, errno: int, status: int, says: str, encoding: str | None
) -> None:
    missing = b"/x" if stage is Stage.INTERPRETER else b""

    async def script() -> None:
        await peer.expect(codec.ExecRequest)
        await peer.say(codec.ExecFailed(peer.id, stage, errno, missing=missing))

    running = run(guest, ["é"], check_start=False, text=True, encoding=encoding)
    result = await answered(running, script())
    said = says.replace("é", r"\xe9") if encoding == "ascii" else says
    assert (result.returncode, result.stdout, result.stderr) == (status, "", said)


@pytest.mark.parametrize("stage", [Stage.CHDIR, Stage.USER, Stage.FORK, Stage.LIMIT])
async def test_other_failures_of_a_start_are_errors(guest: Guest, peer: Peer, stage: Stage) -> None:
    async def script() -> None:
        await peer.expect(codec.ExecRequest)
        await peer.say(codec.ExecFailed(peer.id, stage, ENOENT))

    with pytest.raises(StartError):
        await answered(run(guest, ["ls"], check_start=False), script())


async def test_failed_start_is_written_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.say(codec.ExecFailed(peer.id, Stage.LOOKUP, ENOENT))

        running = run(guest, ["x"], check_start=False, check=True, capture_output=False)
        with pytest.raises(CalledProcessError) as caught:
            await answered(running, script())
        assert (caught.value.returncode, caught.value.stderr) == (127, None)
    assert capfd.readouterr() == ("", "x: not found in the guest's PATH\n")


async def test_a_cancelled_run_kills_and_leaves_the_guest_ready(guest: Guest, peer: Peer) -> None:
    first = asyncio.create_task(run(guest, ["sleep", "60"]))
    await peer.expect(codec.ExecRequest)
    await peer.write(Stream.STDOUT, b"of no interest")
    first.cancel()
    assert await peer.hear() == codec.ExecKill(1)
    assert not first.done()
    await peer.exit(SIGKILL, Ending.SIGNALLED)
    with pytest.raises(asyncio.CancelledError):
        await first

    async def script() -> None:
        assert (await peer.expect(codec.ExecRequest)).id == 2
        await peer.write(Stream.STDOUT, b"second")
        await peer.exit(0)

    assert (await answered(run(guest, ["true"]), script())).stdout == b"second"


@pytest.mark.parametrize("taken", [0, 3, 10])
@pytest.mark.parametrize("says", [False, True], ids=["ends", "closes"])
async def test_input_may_be_read_in_part(guest: Guest, peer: Peer, taken: int, says: bool) -> None:
    async def script() -> None:
        await peer.expect(codec.ExecRequest)
        if taken:
            await peer.say(codec.ExecStdinCredit(1, taken))
            assert len((await peer.expect(codec.ExecStdin)).data) == taken
        if says:
            await peer.say(codec.ExecStdinClosed(1))
        await peer.write(Stream.STDOUT, b"enough")
        await peer.exit(0)

    result = await answered(run(guest, ["head"], input=b"x" * 100), script())
    assert (result.returncode, result.stdout) == (0, b"enough")


async def test_text_is_decoded_and_encoded(guest: Guest, peer: Peer) -> None:
    async def script() -> None:
        await peer.expect(codec.ExecRequest)
        await peer.say(codec.ExecStdinCredit(1, 100))
        assert await peer.hear() == codec.ExecStdin(1, "é\n".encode())
        await peer.write(Stream.STDOUT, "a\r\nü\rb\n".encode())
        await peer.exit(0)

    result = await answered(run(guest, ["cat"], input="é\n", text=True), script())
    assert (result.stdout, result.stderr) == ("a\nü\nb\n", "")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, b"\xe9\r\n"),
        ({"encoding": "latin-1"}, "é\n"),
        ({"errors": "replace"}, "\ufffd\n"),
        ({"text": True, "errors": "surrogateescape"}, "\udce9\n"),
        ({"text": True, "encoding": "latin-1"}, "é\n"),
        ({"encoding": "latin-1", "newline": ""}, "é\r\n"),
        ({"encoding": "latin-1", "newline": None}, "é\n"),
    ],
    ids=str,
)
async def test_encoding_or_errors_imply_text(
    guest: Guest, peer: Peer, options: dict[str, Any], expected: object
) -> None:
    result = await answered(run(guest, ["cat"], **options), peer.play(stderr=b"\xe9\r\n"))
    assert result.stderr == expected


async def test_output_may_go_to_the_standard_streams(capfd: pytest.CaptureFixture[str]) -> None:
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.say(codec.ExecStdinCredit(1, 100))
            assert await peer.hear() == codec.ExecStdin(1, b"in")
            assert await peer.hear() == codec.ExecStdin(1, b"")
            await peer.write(Stream.STDOUT, b"out\n")
            await peer.write(Stream.STDERR, b"err\n")
            await peer.write(Stream.STDOUT, b"more\n")
            await peer.exit(2)

        result = await answered(run(guest, ["sh"], capture_output=False, input=b"in"), script())
        assert result == CompletedProcess(["sh"], 2, None, None)
    assert capfd.readouterr() == ("out\nmore\n", "err\n")


async def test_closed_reader_ends_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    saved = os.dup(1)
    async with greeted() as (guest, peer):

        async def script() -> None:
            await peer.expect(codec.ExecRequest)
            await peer.write(Stream.STDOUT, b"out\n")
            await peer.expect(codec.ExecKill)
            await peer.exit(SIGKILL, Ending.SIGNALLED)

        os.dup2(writer, 1)
        try:
            with pytest.raises(BrokenPipeError):
                await answered(run(guest, ["yes"], capture_output=False), script())
        finally:
            os.dup2(saved, 1)
            os.close(saved)
            os.close(writer)
        assert guest.error is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("limit", "stdout", "stderr"), [(6, "out\u00e9", "err"), (4, "out\ufffd", "err"), (0, "", "")]
)
async def test_output_beyond_the_limit_is_discarded(
    guest: Guest, peer: Peer, limit: int, stdout: str, stderr: str
) -> None:
    async def script() -> None:
        await peer.expect(codec.ExecRequest)
        for piece in (b"ou", "t\u00e9".encode()):
            await peer.write(Stream.STDOUT, piece)
        await peer.write(Stream.STDERR, b"err")
        await peer.exit(3)

    result = await answered(run(guest, ["x"], text=True, capture_limit=limit), script())
    assert (result.returncode, result.stdout, result.stderr) == (3, stdout, stderr)
    assert result.truncated == (limit < 5)


async def test_cut_text_does_not_hide_the_error(guest: Guest, peer: Peer) -> None:
    async def script() -> None:
        await peer.expect(codec.ExecRequest)
        await peer.write(Stream.STDOUT, "a\r\nä".encode()[:-1])
        await peer.expect(codec.ExecKill)
        await peer.exit(SIGKILL, Ending.SIGNALLED)

    with pytest.raises(ExecTimeout) as caught:
        await answered(run(guest, ["sleep"], timeout=SOON, text=True), script())
    assert (caught.value.stdout, caught.value.stderr) == ("a\n\ufffd", "")

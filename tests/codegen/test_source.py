"""Tests of the live explanation of files, pipes and serial ports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from microvm.wire import codec

from .common import Run

pytestmark = pytest.mark.usefixtures("in_project")

EXPLAIN = [sys.executable, "-c", "from microvm_proto.cli import main; main()", "explain"]
PING = codec.Ping(42).encode()
# Bytes that a terminal which is not raw would change, drop, or interpret.
LINE = codec.ExecOutput(3, codec.Stream.STDOUT, b"\r\n\x03\x04\x11\x13\x1a\x1c\x7f\xff").encode()


@pytest.fixture
def serial() -> Iterator[tuple[int, int, str]]:
    """Both sides of a serial line: the far side, the port, and its name."""
    far, port = os.openpty()
    yield far, port, os.ttyname(port)
    os.close(far)
    os.close(port)


def explaining(*arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*EXPLAIN, *arguments], stdin=stdin, stdout=pipe, stderr=pipe, text=True
    )


def frame(output: IO[str]) -> str:
    """Read the explanation of the next frame."""
    return "".join(iter(output.readline, "\n"))


def test_frame_is_shown_as_soon_as_it_is_complete() -> None:
    with explaining("-", stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        for at in (0, 1):
            os.write(process.stdin.fileno(), (PING * 2)[at * 20 + at : at * 20 + 21])
            assert frame(process.stdout).startswith(f"frame {at + 1}, at {20 * at}: ping")
        process.stdin.close()
        assert process.wait() == 0


def test_a_serial_port_is_raw_until_ctrl_c(serial: tuple[int, int, str]) -> None:
    far, port, name = serial
    before = termios.tcgetattr(port)
    with explaining(name, "--baud", "57600") as process:
        assert process.stdout
        assert process.stderr
        while termios.tcgetattr(port)[4] != termios.B57600:
            assert process.poll() is None, process.stderr.read()
        for data in (PING[:5], PING[5:] + LINE):
            os.write(far, data)
        assert frame(process.stdout).startswith("frame 1, at 0: ping")
        assert r'data             "\r\n\x03\x04\x11\x13\x1a\x1c\x7f\xff"' in frame(process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == ""
    assert termios.tcgetattr(port) == before


def test_input_of_a_serial_port_is_never_text(serial: tuple[int, int, str]) -> None:
    far, _, name = serial
    with explaining(name) as process:
        os.write(far, b"the kernel says: \n")
        assert process.wait() == 1
        assert process.stderr
        assert "frame 1 is malformed" in process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-", "--baud", "9600"], "--baud can only be used with a serial port"),
        (["/dev/zero", "--baud", "9600"], "--baud can only be used with a serial port"),
        (["-", "--baud", "9601"], "--baud must be one of 50, 75, "),
        ([PING.hex(), "--baud", "9600"], "--baud can only be used with a serial port"),
        ([PING.hex(), "--port", "7000"], "--port can only be used with a capture"),
    ],
)
def test_unsuitable_options_are_refused(arguments: list[str], said: str, run: Run) -> None:
    result = run("explain", *arguments)
    assert result.exit_code
    assert result.stdout == ""
    assert said in result.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("cat /dev/zero", "may be in another format: give raw bytes, a capture"),
        ("yes 00", "standard input is a text of more than 64 MiB"),
        ("gzip -c README.md", "may be in another format: give raw bytes, a capture"),
        ("true", "no frames: the input is empty"),
    ],
)
def test_explain_ends_for_any_stream(command: str, said: str) -> None:
    with subprocess.Popen(command.split(), stdout=subprocess.PIPE) as source:
        assert source.stdout
        with explaining("-", stdin=source.stdout.fileno()) as process:
            source.stdout.close()
            assert process.wait() == 1
            assert process.stderr
            assert said in process.stderr.read()


def test_broken_pipe_is_silent(tmp_path: Path) -> None:
    (tmp_path / "stream").write_bytes(PING * 10_000)
    with explaining(str(tmp_path / "stream")) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith("frame 1")
        process.stdout.close()
        process.wait()
        assert process.stderr.read() == ""

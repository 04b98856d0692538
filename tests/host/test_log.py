"""Tests of the log: its messages, its listeners, and its output on a terminal, without machines."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.captured import captured

from microvm.log import AREAS, DEBUG, LEVELS, MOST_LOGGED, TRACE, Area
from microvm.qemu.logged_lines import LINE_SIZE, LoggedLines, sanitised
from microvm.wire import codec
from microvm.wire.channel import FRAMES_PER_TURN, Channel
from microvm.wire.frames import Frames
from microvm.wire.session import Session

DOCUMENT = Path(__file__).parents[2] / "docs/logging.md"
HOSTILE = b"\x1b[31mred\x1b]0;title\x07\x08 \xff\r\n"


def python(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a new interpreter without configuration."""
    kept = {key: value for key, value in os.environ.items() if key != "MICROVM_LOG"}
    return captured([sys.executable, "-P", "-c", script], env={**kept, **env})


SPEAK = """
from microvm.log import Area
log = Area("start")
log.warning("a warning"), log.info("a line"), log.debug("a reason"), log.frame("host", b"frame")
"""


@pytest.mark.parametrize("before", ["", "import logging"])
def test_nothing_is_logged_by_default(before: str) -> None:
    done = python(f"{before}{SPEAK}import sys; print('logging' in sys.modules)")
    assert (done.stdout, done.stderr) == (f"{bool(before)}\n", "")


SHOWN = "from microvm.cli.log import listen\nlisten({})\n" + SPEAK


@pytest.mark.parametrize(
    ("verbosity", "wanted", "said"),
    [
        (0, "warning", []),  # `notify` has reported them
        (2, "", ["a line", "a reason"]),
        (3, "", ["a line", "a reason", "the host sends 5 bytes"]),
        (0, "DEBUG", ["a line", "a reason"]),
        (0, " microvm.start=info , qemu=trace,", ["a line"]),
        (3, "start=info", ["a line"]),
    ],
)
def test_levels_are_those_asked_for(verbosity: int, wanted: str, said: list[str]) -> None:
    done = python(SHOWN.format(verbosity), MICROVM_LOG=wanted)
    lines = re.findall(r"^microvm: \d+\.\d{3} s: start: (.*)$", done.stderr, re.MULTILINE)
    assert (done.returncode, lines) == (0, said)


@pytest.mark.parametrize("wanted", ["loud", "wires=debug", "=debug", "wire=", "qemu.qmp=debug"])
def test_unknown_level_or_area_is_refused(wanted: str) -> None:
    command = [sys.executable, "-P", "-m", "microvm", "template", "ls"]
    environment = {**os.environ, "MICROVM_LOG": wanted}
    done = captured(command, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith(f"microvm: MICROVM_LOG: {wanted!r} is not [AREA=]LEVEL (areas: ")


def test_a_stderr_that_nobody_reads_is_no_error() -> None:
    script = (
        f"import os\nr, w = os.pipe()\nos.close(r), os.dup2(w, 2)\n{SHOWN.format(3)}os._exit(7)"
    )
    assert python(script).returncode == 7


def test_logged_text_cannot_move_the_cursor() -> None:
    script = f"""
from microvm.cli.log import listen
from microvm.log import Area
from microvm.qemu.console import Console
listen(3)
hostile = {HOSTILE!r}
for _ in range(3000):
    Console().feed(hostile)
console = Console()
console.feed(hostile[:5]), console.feed(hostile[5:] + b"x" * 5000), console.feed(b"y" + hostile)
for _ in range(3000):
    console.feed(hostile)
Area("guest").info("%s", hostile.decode("latin-1"))
Area("wire").frame("guest", hostile)
"""
    done = python(script)
    assert done.returncode == 0, done.stderr
    assert set(done.stderr) <= {"\n", *map(chr, range(0x20, 0x7F)), "\ufffd", "\xff"}
    lines = [line for line in done.stderr.splitlines() if "qemu: console: red" in line]
    assert len(lines) == 3000 + MOST_LOGGED - 1
    assert done.stderr.count("qemu: no more is shown of the console\n") == 1


@given(st.lists(st.binary(max_size=40)), st.binary(max_size=11), st.randoms())
def test_frames_are_whole_wherever_cut(bodies: list[bytes], rest: bytes, random: Random) -> None:
    whole = [len(body).to_bytes(4, "little") + bytes(8) + body for body in bodies]
    stream = b"".join(whole) + rest
    frames, at = Frames(), 0
    found: list[bytes] = []
    while at < len(stream):
        size = random.randint(1, 60)
        frames.receive_data(stream[at : at + size])
        found += iter(frames.next_frame, None)
        at += size
    assert found == whole
    assert (frames.take_rest(), frames.take_rest()) == (rest, b"")


async def test_frames_are_logged_in_turns_up_to_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(TRACE, "microvm.wire")
    session, heard = Session(), asyncio.Event()
    ours, theirs = socket.socketpair()
    channel = Channel(session, lambda _: heard.set(), lambda _: None, lambda: None)
    await channel.connect(ours)
    with theirs:
        session.hello()
        nonce = session._nonce
        # Messages from before this hello, which result in no event, and then the answer.
        theirs.sendall(codec.Pong(1).encode() * (MOST_LOGGED + 10))
        theirs.sendall(codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce).encode())
        logged = [0]
        while not heard.is_set():
            await asyncio.sleep(0)
            logged.append(len(caplog.records))
        for token in range(MOST_LOGGED + 10):
            channel.write(session.ping(token))
        channel.close()
    assert max(later - sooner for sooner, later in pairwise(logged)) <= FRAMES_PER_TURN
    senders = [getattr(record, "sender", record.getMessage()) for record in caplog.records]
    assert {who: senders.count(who) for who in senders} == {
        "guest": MOST_LOGGED,
        "no more is shown of the guest's frames": 1,
        "host": MOST_LOGGED,
        "no more is shown of the host's frames": 1,
    }


@pytest.mark.parametrize("said", [b"one\ntwo \x1b[2J\nthree", b"\n".join([b"x" * 600] * 1500)])
def test_lines_are_logged_one_by_one(caplog: pytest.LogCaptureFixture, said: bytes) -> None:
    caplog.set_level(DEBUG, "microvm.qemu")
    lines = LoggedLines(Area("qemu"), "it says", "what it says")
    for at in range(0, len(said), 7000):
        lines.feed(said[at : at + 7000])
    lines.close()
    lines.close()
    texts = [f"it says: {sanitised(line[:LINE_SIZE])}" for line in said.split(b"\n")]
    if len(texts) > MOST_LOGGED:
        texts[MOST_LOGGED:] = ["no more is shown of what it says"]
    assert caplog.messages == texts


def test_document_lists_all_levels_and_areas() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    assert rows == [*LEVELS, *AREAS]


def test_all_areas_are_those_listed() -> None:
    sources = Path(__file__).parents[2]
    named = {
        name
        for folder in ("host/microvm", "image/microvm_image")
        for path in (sources / folder).rglob("*.py")
        for name in re.findall(r'\bArea\("(\w+)"\)', path.read_text())
    }
    assert named == set(AREAS)
    assert not Area("start").listens(logging.DEBUG)

"""Tests of the log messages of a start."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.parameters import accelerator
from tests.vm.conftest import DEADLINE, Command, Misbehave

from microvm import MicroVM
from microvm.images import Image
from microvm.log import WARNING
from microvm.wire import codec
from microvm_proto.explain import explain
from microvm_proto.resolve import read_schema

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"microvm: (\d+\.\d{3}) s: (\w+): (.*)")
SECRET = ("-e", "TOKEN=of-the-user", "--", "sh", "-c", "cat; exit 3")


def lines(said: bytes) -> list[tuple[str, str]]:
    """Return the areas and texts of the logged lines; check that their times never decrease."""
    found = [LINE.fullmatch(line) for line in said.decode().splitlines()]
    told = [match.groups() for match in found if match]
    times = [float(seconds) for seconds, _, _ in told]
    assert times == sorted(times)
    assert times[-1] < DEADLINE
    return [(area, text) for _, area, text in told]


@pytest.fixture(scope="module", autouse=True)
def _template(microvm: Command) -> None:
    """Save a template to clone."""
    assert microvm("run", "--", "true").returncode == 0


def test_the_story_of_a_start(microvm: Command, image: Image) -> None:
    result = microvm("run", "-v", *SECRET, input=b"what is read")
    assert (result.returncode, result.stdout) == (3, b"what is read")
    story = (
        ("start", rf"image {image.name}, 256 MiB, CPUs: 1, (TCG|KVM)"),
        ("start", rf"cloning template {image.name}-\w+"),
        ("start", r"cloned under \w+, QEMU is process \d+, ready \d+ ms after its start"),
        ("start", "the machine is gone"),
    )
    for (area, text), (wanted, pattern) in zip(lines(result.stderr), story, strict=True):
        assert area == wanted
        assert re.fullmatch(pattern, text), text
    assert len(result.stderr.splitlines()) == len(story)


def test_more_tells_how(microvm: Command, image: Image) -> None:
    result = microvm("run", "-vv", *SECRET, input=b"what is read")
    told = lines(result.stderr)
    (typed,) = [text for area, text in told if area == "qemu" and " -nodefaults " in text]
    words = shlex.split(typed)
    assert f"qemu-system-{image.manifest.arch}" in {Path(word).name for word in words}
    assert words[words.index("-m") + 1] == "256"
    qmp = [text for area, text in told if area == "qemu" and text.startswith("QMP of process ")]
    assert '<- {"QMP": ' in qmp[0]
    assert '-> {"execute":"qmp_capabilities"' in "".join(qmp)
    began = "sh started: sh -c 'cat; exit 3'; environment: TOKEN; as root in its home"
    assert [text for area, text in told if area == "guest"] == [began, "sh exited with status 3"]
    for secret in (b"of-the-user", b"what is read"):
        assert secret not in result.stderr
    assert b"frame 1, at 0" not in result.stderr


def test_each_line_of_qemu_is_a_line(microvm: Command, misbehave: Misbehave) -> None:
    misbehave(r"printf 'one\033[2J\ntwo\nthree' >&2")
    result = microvm("run", "-vv", "--cold", "--confinement", "off", "--", "true")
    said = [text.partition(" says: ") for area, text in lines(result.stderr) if area == "qemu"]
    assert [words for _, says, words in said if says][-3:] == ["one", "two", "three"]


def test_log_with_vvv_has_the_frames(microvm: Command) -> None:
    result = microvm("run", "-vvv", *SECRET, input=b"what is read")
    schema = read_schema(ROOT / "protocol/sandboxd.toml")
    for sender, message in (
        ("host", codec.ExecStdin(1, b"what is read")),
        ("host", codec.ExecStdin(1, b"")),
        ("guest", codec.ExecOutput(1, codec.Stream.STDOUT, b"what is read")),
    ):
        shown = "\n".join(explain(schema, [message.encode()], sender))
        assert shown in result.stderr.decode()
    # Only the guest knows how much memory the command used.
    ended = rb"exec_response, sent by guest\n(?: .*\n)* .* status +3\n(?: .*\n)* .* memory +\d+ "
    assert re.search(ended, result.stderr)
    assert b"TOKEN=of-the-user" in result.stderr


async def test_notices_are_logged_once_as_warnings(
    microvm: Command,
    image: Image,
    misbehave: Misbehave,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path))  # without a template of this QEMU
    misbehave("clones && kill -KILL $$")
    told: list[str] = []
    async with MicroVM(
        image, memory="96M", accel=accelerator(), confinement="off", notify=told.append
    ):
        pass
    (line,) = told
    assert line.endswith("; booting instead")
    assert ("microvm.start", WARNING, line) in caplog.record_tuples
    options = ["--image", str(image.path), "--memory", "96M", "--accel", accelerator()]
    options += ["--confinement", "off"]
    result = microvm("run", "-v", *options, "--", "true")
    assert result.stderr.count(b"; booting instead") == 1


WATCHED = """
import sys
from microvm.__main__ import main

def watch(event, arguments):
    if event == "subprocess.Popen" and "qemu-system" in repr(arguments):
        print("logging" in sys.modules, file=sys.stderr)

sys.addaudithook(watch)
main()
"""


def test_no_start_waits_for_logging() -> None:
    command = [sys.executable, "-c", WATCHED, "run", "--", "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert done.stderr == "False\n"

"""Tests of the log messages of a start."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest
from tests.support.parameters import accelerator
from tests.vm.conftest import DEADLINE, Command, Misbehave

from microvm import MicroVM
from microvm.images import Image
from microvm.log import DEBUG, TRACE, WARNING
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


def test_boot_is_logged_as_a_boot(microvm: Command) -> None:
    texts = [text for _, text in lines(microvm("run", "-v", "--cold", "--", "true").stderr)]
    assert texts.index("booting") == 1
    assert texts[2].startswith("booted under ")


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


def test_the_environment_asks_for_areas(microvm: Command) -> None:
    result = microvm("run", "--", "true", env={**os.environ, "MICROVM_LOG": "guest=debug"})
    assert lines(result.stderr) == [
        ("guest", "true started: true; environment: the default; as root in its home"),
        ("guest", "true exited with status 0"),
    ]


def test_many_machines_tell_of_themselves(microvm: Command) -> None:
    result = microvm("map", "-v", "-j", "1", "-", input=b"true\nfalse\n")
    texts = [text for _, text in lines(result.stderr)]
    assert texts.count("the machine is gone") == 2
    assert not any("exited with status" in text for text in texts)


def test_lines_stand_above_a_bar_that_moves(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("true\n")
    command = ["-m", "microvm", "map", "-v", str(tmp_path / "jobs")]
    child: pexpect.spawn[bytes] = pexpect.spawn(sys.executable, command, timeout=DEADLINE)
    child.expect(pexpect.EOF)
    child.close()
    before, *lines = (child.before or b"").split(b"microvm: ")
    assert len(lines) > 3
    for text in (before, *lines[:-1]):
        assert text.endswith((b"\n", b"\x1b[2K"))


@pytest.mark.parametrize("tells", ["-vv", "-vvv"])
def test_a_guest_moves_no_cursor(tells: str) -> None:
    script = r'printf "\033[31mred\033[2J\a\n" >/dev/console; printf "\033[2J"; cat'
    command = [sys.executable, "-m", "microvm", "run", tells, "--", "sh", "-c", script]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    # `communicate` does not return what a buffer of `readline` contains.
    with subprocess.Popen(command, bufsize=0, **pipes) as process:  # type: ignore[call-overload]
        said = b""
        deadline = time.monotonic() + DEADLINE
        while b"qemu: console: red" not in said:
            assert time.monotonic() < deadline
            said += process.stderr.readline()
        out, rest = process.communicate(b"end", timeout=DEADLINE)
    assert out == b"\x1b[2Jend"
    assert b"\x1b" not in said + rest
    assert (b'"\\x1b[2J' in said + rest) == (tells == "-vvv")


async def test_program_gets_records_of_the_level_that_it_sets(
    image: Image, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(TRACE, "microvm")
    async with MicroVM(image.path) as vm:
        await vm.run(["true"], env={"TOKEN": "of-the-user"})
    assert {"start", "qemu", "guest", "wire", "image"} <= {
        record.name.removeprefix("microvm.") for record in caplog.records
    }
    for record in caplog.records:
        assert "of-the-user" not in record.getMessage()
    below = [record for record in caplog.records if record.levelno >= DEBUG]
    assert not any(hasattr(record, "frame") for record in below)
    assert any(b"of-the-user" in record.frame for record in caplog.records if record not in below)  # type: ignore[attr-defined] # it has one


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


async def test_a_program_that_asks_for_nothing_sees_nothing(
    image: Image, capfd: pytest.CaptureFixture[str]
) -> None:
    async with MicroVM(image, notify=lambda _: None) as vm:
        await vm.run(["true"])
    assert capfd.readouterr() == ("", "")


def test_the_program_in_the_document() -> None:
    text = (ROOT / "docs/logging.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert re.search(r"^\d+ ms microvm\.start: cloned under ", done.stderr, re.MULTILINE)


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

"""Tests of the samples on serial lines: they run as documented, and noise fakes no message."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
import tty
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
from tests.support.captured import captured

from microvm_proto.resolve import read_schema
from microvm_proto.stream import FrameReceiver

EXAMPLES = Path(__file__).parents[2] / "examples"
RATE = 1e-4
"""The share of flipped bits."""

FRAMES = 100_000

COUNT = r"""
#include <stdio.h>
#include "protocol.h"

static uint8_t room[METER_ROOM_FROM_METER];
static struct meter_receiver r;

int main(void)
{
	int byte;

	meter_receiver_init(&r, METER_METER, METER_VERSION, room);
	while ((byte = getchar()) != EOF)
		if (meter_receive(&r, (uint8_t)byte) && r.header.type == METER_TYPE_READING)
			printf("%u %d\n", r.body.reading.tick, r.body.reading.value);
	printf("%u %u %u %u %u\n", r.frames, r.bad, r.foreign, r.skipped, r.lost);
}
"""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    for name in ("serial", "cortex_m"):
        ignored = shutil.ignore_patterns("meter", "meter.elf", "__pycache__")
        shutil.copytree(EXAMPLES / name, folder / name, ignore=ignored)
    subprocess.run(["make", "-s", "meter", "CC=gcc"], cwd=folder / "serial", check=True)
    return folder


@pytest.fixture(scope="module")
def modules(samples: Path) -> Iterator[Callable[[str], ModuleType]]:
    """A function that imports a module of the sample by name."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, samples / f"serial/{name}.py")
        assert spec
        assert spec.loader
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    del sys.modules["meter"], sys.modules["noisy_line"], sys.modules["read_meter"]


def promised(folder: Path) -> str:
    (text,) = re.findall(r"\nprints\n\n((?:    .*\n)+)", (folder / "README.md").read_text())
    return unhurried(str(text).replace("    ", ""))


def unhurried(text: str) -> str:
    """Return the text without the counts that depend on how fast the meter starts."""
    return re.sub(r": \d+ frames", ": all frames", text)


def make_run(folder: Path, rate: float) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["make", "-s", "run", f"RATE={rate}"]
    return captured(command, cwd=folder, env=environment)


def check_run(folder: Path) -> None:
    done = make_run(folder, 0)
    assert done.returncode == 0, done.stdout + done.stderr
    assert unhurried(done.stdout) == promised(folder)


def test_the_sample_runs_as_its_readme_says(samples: Path) -> None:
    check_run(samples / "serial")


@pytest.mark.long
def test_bare_metal_sample_runs_as_its_readme_says(samples: Path) -> None:
    for needed in "arm-none-eabi-gcc", "qemu-system-arm":
        if not shutil.which(needed):
            pytest.skip(f"{needed} is not installed")
    check_run(samples / "cortex_m")
    # On such a line, five attempts may fail.
    said = make_run(samples / "cortex_m", 0.01).stdout
    assert re.search(r"^line: [1-9]\d* bits flipped$", said, re.MULTILINE)


@dataclass
class Tap:
    """The bytes of one direction of a line, before and after the noise."""

    change: Callable[[bytes], bytes]
    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)

    def __call__(self, data: bytes) -> bytes:
        changed = self.change(data)
        self.sent += data
        self.received += changed
        return changed


@pytest.mark.thorough
def test_noise_loses_only_damaged_frames(
    samples: Path, modules: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    codec, noisy_line, reader = map(modules, ("meter", "noisy_line", "read_meter"))
    noise = noisy_line.Noise(RATE, seed=1)
    tap = Tap(noise)
    line = noisy_line.Line(tap, bytes)
    stopped = threading.Event()

    def relay() -> None:
        while not stopped.is_set():
            line.relay(0.05)

    thread = threading.Thread(target=relay)
    thread.start()
    device = subprocess.Popen([samples / "serial/meter", line.ends[0]])
    ours = os.open(line.ends[1], os.O_RDWR | os.O_NOCTTY)
    try:
        tty.setraw(ours)
        meter = reader.Meter(ours)
        messages = [meter.identify()]
        for _ in range(2):
            messages += meter.measure(codec.Channel.CURRENT, FRAMES // 2)
    finally:
        stopped.set()
        thread.join()
        device.terminate()
        device.wait()
        os.close(ours)
        line.close()

    right: list[bytes] = []
    hit: list[bytes] = []
    at = 0
    # Each frame begins and ends with a zero.
    for frame in re.findall(rb"\0[^\0]+\0", tap.sent):
        end = at + len(frame)
        damaged = tap.sent[at:end] != tap.received[at:end]
        (hit if damaged else right).append(frame)
        at = end
    assert at == len(tap.sent)
    assert len(right) + len(hit) > FRAMES
    assert len(hit) > 0.5 * RATE * 8 * len(tap.sent)

    decoder = meter.decoder
    assert decoder.frames == len(messages) == len(right)
    alone = codec.Decoder("meter")
    for frame, message in zip(right, messages, strict=True):
        alone.receive_data(frame)
        assert alone.next_message() == message
    # The last frame of a request counts as lost only after another frame has arrived.
    assert decoder.lost in (len(hit), len(hit) - 1)
    assert len(hit) <= decoder.bad <= len(hit) + noise.flipped
    assert decoder.skipped == sum(
        len(chunk) + 1 for chunk in tap.received.split(b"\0")[:-1] if chunk
    ) - sum(len(frame) - 1 for frame in right)

    receiver = FrameReceiver(read_schema(samples / "serial/meter.toml"), "meter")
    assert len([*receiver.receive(bytes(tap.received))]) == decoder.frames + decoder.bad
    counts = [decoder.frames, decoder.bad, decoder.foreign, decoder.skipped, decoder.lost]
    assert list(astuple(receiver.counts)) == counts

    (tmp_path / "count.c").write_text(COUNT)
    program = tmp_path / "count"
    flags = ["-O1", "-fsanitize=address,undefined", f"-I{samples / 'serial'}", "-o", str(program)]
    subprocess.run(["gcc", *flags, f"{program}.c"], check=True)
    counted = subprocess.run([program], input=bytes(tap.received), capture_output=True, check=True)
    lines = [f"{m.tick} {m.value}" for m in messages if isinstance(m, codec.Reading)]
    assert counted.stdout.decode().splitlines() == [*lines, " ".join(map(str, counts))]

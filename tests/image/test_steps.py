"""Tests of the cached changes of commands, with a stand-in for the machine that runs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
from tests.image.layers import file, tar

from microvm.errors import GuestDied, ImageError
from microvm.images import Image
from microvm.progress import LineReporter
from microvm_image.build import build
from microvm_image.compression import compressed
from microvm_image.image_removal import prune
from microvm_image.limits import Limits
from microvm_image.recipe import Recipe, RunStep

pytestmark = pytest.mark.usefixtures("parts")

STEP = Recipe(steps=(RunStep(("work",)),))
GOOD = tar(file("made", b"by the step"))


class StandInRunner:
    """A stand-in for a machine: it writes an archive, or fails."""

    def __init__(self, archive: bytes = GOOD, error: Exception | None = None) -> None:
        self.runs = 0
        self._archive = archive
        self._error = error

    def __call__(
        self, image: Image, command: Sequence[str], show: Callable[[str], None], layer: BinaryIO
    ) -> None:
        self.runs += 1
        if self._error:
            raise self._error
        layer.write(self._archive)


def kept(cache: Path) -> Path:
    (only,) = cache.glob("layers/*/changes.tar.zst")
    return only


@pytest.mark.parametrize("answer", [b"no archive", tar(file("../out"))])
def test_invalid_layer_is_not_cached(
    answer: bytes, cache: Path, leftovers: Callable[[], list[str]]
) -> None:
    with pytest.raises(ImageError, match=r"work: "):
        build(STEP, run=StandInRunner(answer))
    assert not list((cache / "layers").iterdir())
    assert not leftovers()
    build(STEP, run=StandInRunner())


@pytest.mark.parametrize("how", ["changed", "short", "other", "gone", "no digest"])
def test_step_runs_again_if_its_cached_layer_is_damaged(
    how: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = StandInRunner()
    image = build(STEP, run=machine)
    data = kept(cache).read_bytes()
    path = kept(cache)
    if how == "changed":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif how == "short":
        os.truncate(path, len(data) // 2)
    elif how == "other":
        path.unlink()
        with compressed(path) as other:
            other.write(tar(file("other")))
    else:
        (path if how == "gone" else path.with_name("sha256")).unlink()
    for runs in (2, 2):  # the second build finds what the first has kept
        made = build(STEP, run=machine, output=tmp_path / "again", report=LineReporter())
        assert made.manifest.initramfs_sha256 == image.manifest.initramfs_sha256
        assert machine.runs == runs
        (made.path / "kernel").unlink()
    said = capsys.readouterr().err
    assert said.count("is damaged: the step runs again") == 1


def test_layer_of_a_step_may_have_any_ratio() -> None:
    zeros = tar(file("zeros", bytes(1 << 20)))
    limits = Limits(ratio=10, unsuspected=1 << 16)
    build(STEP, run=StandInRunner(zeros), limits=limits)
    with pytest.raises(ImageError, match=r"larger than it may be.*--limit unpacked="):
        build(
            Recipe(steps=(RunStep(("more",)),)),
            run=StandInRunner(zeros),
            limits=Limits(unpacked=1 << 19),
        )


def test_error_of_a_step_names_the_step() -> None:
    with pytest.raises(ImageError, match=r"^run work: the guest died") as failure:
        build(STEP, run=StandInRunner(error=GuestDied("the guest died", detail="its last words")))
    assert failure.value.detail == "its last words"


def test_prune_removes_layers_of_steps_and_of_killed_builds(
    cache: Path, leftovers: Callable[[], list[str]]
) -> None:
    machine = StandInRunner()
    build(STEP, run=machine)
    for name in ("layers", "downloads", "readymade"):
        (cache / name).mkdir(exist_ok=True)
        (cache / name / ".left.tmp").mkdir()
        (cache / name / ".left.tmp" / "left").touch()
        (cache / name / ".stale.lock").touch()
    prune()
    assert not list((cache / "layers").iterdir())
    assert not leftovers()

"""Tests of our own kernel without compiling one: a stand-in source whose `make` writes a record."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import microvm_image
from microvm import arches
from microvm.cli.verbs.kernel import kernel as command
from microvm.errors import ImageError
from microvm.progress import LineReporter, NullReporter
from microvm_image import build as building
from microvm_image import package
from microvm_image.build import build
from microvm_image.kernel import cached, kconfig, recipe, selection, small
from microvm_image.kernel.source import PINNED

pytestmark = pytest.mark.thorough

HOST = arches.find()

# `make vmlinux` of the stand-in copies the fragment, and then runs the command of the test.
MAKEFILE = """
allnoconfig:
	cp $(KCONFIG_ALLCONFIG) .config
vmlinux:
	cp {binary} $@
	{then}
Image: vmlinux
	mkdir -p arch/arm64/boot
	cp vmlinux arch/arm64/boot/$@
	{then}
"""

Source = Callable[..., None]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Return a function that replaces the source of the distribution by one of a given version."""
    try:
        small.check_tools(HOST)
    except ImageError as error:
        pytest.skip(str(error))

    def make(version: str = "6.1.2-1", then: str = "true", apic: str | None = None) -> None:
        tree = tmp_path / "linux"
        for name, before, _ in recipe.EDITS:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(before)
        if apic is not None:
            (tree / recipe.EDITS[0][0]).write_text(apic)
        text = MAKEFILE.format(binary=Path(sys.executable).resolve(), then=then)
        (tree / "Makefile").write_text(text)
        path = tmp_path / "linux.tar.xz"
        with tarfile.open(path, "w:xz") as archive:
            archive.add(tree, "linux")
        monkeypatch.setattr(package, "fetch", lambda *_: package.Extracted(path, version))

    make()
    return make


@pytest.mark.usefixtures("source")
def test_kernel_is_built_once_and_leaves_no_other_files(cache: Path) -> None:
    path = small.build()
    assert path.parent == cache / "kernels"
    assert path.name.startswith(f"linux-6.1.2-{HOST.name}-")
    assert path.read_bytes()[:4] == b"\x7fELF"
    assert list(path.parent.iterdir()) == [path]
    inode = path.stat().st_ino
    assert small.build() == path
    assert path.stat().st_ino == inode


def test_other_parts_give_another_name(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {small.build().name}
    source(version="6.1.2-2")
    names.add(small.build().name)
    text = kconfig.fragment(HOST)
    monkeypatch.setattr(kconfig, "fragment", lambda _: text + "CONFIG_MORE=y\n")
    names.add(small.build().name)
    monkeypatch.setattr(recipe, "BUILDER", recipe.BUILDER + 1)
    names.add(small.build().name)
    assert len(names) == 4


def test_all_missing_build_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError) as caught:
        small.build()
    assert "without gcc, make, flex, bison, bc, tar, xz" in str(caught.value)
    assert "apt install gcc make flex bison bc tar xz-utils" in str(caught.value)


def test_a_missing_header_and_cross_compiler_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (other,) = set(arches.ARCHES) - {HOST.name}
    monkeypatch.setattr(shutil, "which", lambda name: None if "linux-gnu" in name else name)
    monkeypatch.setattr(small, "_has_header", lambda name: name != "gelf.h")
    with pytest.raises(ImageError, match=f"{other}-linux-gnu-gcc, gelf.h.*libelf-dev"):
        small.check_tools(arches.find(other))


def test_output_of_a_failed_compiler_is_quoted(source: Source, cache: Path) -> None:
    source(then="echo 'no such luck' >&2; false")
    with pytest.raises(ImageError, match="compiling the kernel failed") as caught:
        small.build()
    assert "no such luck" in caught.value.detail
    assert "Error 1" in str(caught.value)
    assert not list((cache / "kernels").iterdir())


def test_a_source_that_has_changed_is_refused(source: Source, cache: Path) -> None:
    source(apic="something else")
    with pytest.raises(ImageError, match=r"cannot patch this kernel source: apic\.c"):
        small.build()
    assert not list((cache / "kernels").iterdir())


@pytest.mark.usefixtures("source")
def test_a_source_that_is_not_the_pinned_one_is_refused() -> None:
    with pytest.raises(ImageError, match=rf"xz: its SHA-256 is \w+, not {PINNED.archive_sha256}"):
        small.build(pinned=True)


def put(cache: Path, kernel: Path, version: str) -> Path:
    """Store the stand-in kernel with a version, as if it had been built."""
    folder = cache / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"linux-{version}-{HOST.name}-{recipe.digest(HOST)}-01234567"
    text = f"{version} (us)\0".encode()
    data = kernel.read_bytes()
    path.write_bytes(data[:0x1200] + text + data[0x1200 + len(text) :])
    return path


def test_bus_depends_on_the_version(cache: Path, kernel: Path) -> None:
    found = selection.find(HOST, put(cache, kernel, "6.1.2-microvm"), NullReporter())
    assert (found.version, found.bus) == ("6.1.2-microvm", "mmio")


def test_images_get_the_small_kernel_if_it_exists(
    archive: Path, kernel: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = package.folder_of(selection.wanted(HOST), HOST, "6.1-1") / "boot"
    boot.mkdir(parents=True)
    shutil.copy(kernel, boot / "vmlinuz-6.1")
    monkeypatch.setenv("MICROVM_ROOTFS", str(archive))
    monkeypatch.setattr(package._Apt, "find", _no_apt)
    first = microvm_image.default()
    assert first.manifest.bus == "pci"
    with pytest.raises(ImageError, match="microvm kernel build"):
        build(kernel="small")

    put(cache, kernel, "6.1.2-microvm")
    second = microvm_image.default()
    assert (second.manifest.kernel_version, second.manifest.bus) == ("6.1.2-microvm", "mmio")
    monkeypatch.setattr(building, "build", None)
    assert microvm_image.default() == second

    assert build(kernel="debian") == first
    assert build(kernel="small") == second
    monkeypatch.setenv("MICROVM_KERNEL", "debian")
    assert microvm_image.default() == first
    monkeypatch.delenv("MICROVM_KERNEL")
    cached.remove(next(cached.installed()).name)
    assert microvm_image.default() == first


def test_a_kernel_of_another_recipe_is_not_used(
    cache: Path, kernel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as older:
        older.setattr(recipe, "BUILDER", recipe.BUILDER - 1)
        put(cache, kernel, "6.1.2-microvm")
    monkeypatch.setattr(package._Apt, "find", _no_apt)
    assert cached.newest(HOST) is None
    with pytest.raises(ImageError, match="has been built since microvm has changed"):
        selection.find(HOST, "small", LineReporter())
    for named, told in ((None, True), ("debian", False)):
        with pytest.raises(ImageError, match="cannot get a kernel for the guest: ") as caught:
            selection.find(HOST, named, LineReporter())
        assert ("guest pack" in caught.value.message) == told
        assert ("guest pack" in caught.value.hint) == told
        assert "MICROVM_KERNEL" in caught.value.hint
        assert ("run `microvm kernel build`" in capsys.readouterr().err) == told


def _no_apt(*_: object) -> None:
    raise ImageError("no network")


def test_kernel_commands(cache: Path, kernel: Path) -> None:
    older, newer = (put(cache, kernel, version) for version in ("6.1.3-microvm", "6.1.2-microvm"))
    os.utime(older, (0, 0))
    assert cached.newest(HOST) == newer
    lines = CliRunner().invoke(command, ["ls"]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", newer.name, older.name]
    assert CliRunner().invoke(command, ["rm", newer.name]).exit_code == 0
    assert cached.newest(HOST) == older
    assert isinstance(CliRunner().invoke(command, ["rm", newer.name]).exception, ImageError)
    assert CliRunner().invoke(command, ["rm", "../x"]).exit_code == 1

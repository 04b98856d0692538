"""Tests that the programs of the guest are compiled once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from microvm import arches
from microvm.errors import ImageError
from microvm.progress import NullReporter
from microvm.system import compiler
from microvm_image import programs


def build() -> programs.Programs:
    return programs.build(arches.find(), NullReporter())


def test_the_same_sources_are_compiled_once(guest: Path, cache: Path) -> None:
    first = build()
    assert list(first.files) == list(programs.NAMES)
    assert all(data.startswith(b"\x7fELF") for data in first.files.values())
    assert first.schema == "0123456789abcdef"
    (guest / "README").write_text("not compiled")
    assert build() == first
    assert len(list((cache / "programs").iterdir())) == 1


@pytest.mark.parametrize(
    "makefile", ["all:\n\tfalse\n", "all:\n", "all:\n\tmkdir $(OUT)\n\ttouch $(OUT)/init\n"]
)
def test_failed_compilation_leaves_no_files(
    guest: Path, makefile: str, leftovers: Callable[[], list[str]], cache: Path
) -> None:
    (guest / "Makefile").write_text(makefile)
    with pytest.raises(ImageError, match="compiling sandboxd failed"):
        build()
    assert not leftovers()
    assert not list((cache / "programs").iterdir())


def test_message_of_the_compiler_is_reported(guest: Path) -> None:
    (guest / "main.c").write_text("nonsense\n")
    with pytest.raises(ImageError) as caught:
        build()
    assert "main.c" in caught.value.detail


def test_header_without_a_digest_is_an_error(guest: Path) -> None:
    (guest / "protocol.h").write_text("")
    with pytest.raises(ImageError, match="no schema digest"):
        build()


@pytest.mark.parametrize(
    ("installed", "libc", "chosen"),
    [
        ("musl-gcc gcc clang zig", False, "gcc"),
        ("musl-gcc clang zig", False, "clang"),
        ("musl-gcc zig", False, "zig"),
        ("musl-gcc gcc zig", True, "musl-gcc"),
        ("gcc clang zig", True, "zig"),
        ("gcc clang", True, "gcc"),
    ],
)
def test_compiler_that_is_chosen(
    installed: str, libc: bool, chosen: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in installed.split():
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiler, "find_spec", lambda _: "zig" in installed)
    command = compiler.compiler(arches.find(), "a program", libc=libc)
    assert chosen == ("zig" if "ziglang" in command else command[0])


OTHER = next(arch for arch in arches.ARCHES.values() if arch is not arches.find())


@pytest.mark.parametrize(
    ("installed", "has_libc", "libc", "chosen"),
    [
        ("gcc cross zig", True, False, "cross"),
        ("gcc cross zig", False, False, "zig"),
        ("gcc cross zig", True, True, "zig"),
        ("gcc cross", True, True, "cross"),
    ],
)
def test_compiler_for_another_architecture(
    installed: str,
    has_libc: bool,
    libc: bool,
    chosen: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    names = {"cross": f"{OTHER.cross_prefix}gcc"}
    for word in installed.split():
        program = tmp_path / names.get(word, word)
        program.write_text(f"#!/bin/sh\necho {'/lib/libc.a' if has_libc else 'libc.a'}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiler, "find_spec", lambda _: "zig" in installed)
    command = compiler.compiler(OTHER, "a program", libc=libc)
    assert names.get(chosen, chosen) == ("zig" if "ziglang" in command else command[0])


def test_no_compiler_for_another_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ImageError) as caught:
        compiler.compiler(OTHER, "a program")
    assert f"`apt install {OTHER.cross_packages} make`" in str(caught.value.hint)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ImageError, match=r"gcc libc6-dev make` or `pip install ziglang`"):
        build()


def test_no_make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiles = tmp_path / "gcc"
    compiles.write_text("#!/bin/sh\necho its version\n")
    compiles.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="make is not installed") as caught:
        build()
    assert caught.value.hint == "apt install make"

"""Compiling the daemon, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from microvm import arch
from microvm.errors import ImageError
from microvm.progress import NullReporter
from microvm_image import daemon


def build() -> daemon.Daemon:
    return daemon.build(arch.find(), NullReporter())


def test_a_static_binary_and_its_schema() -> None:
    built = build()
    assert built.data.startswith(b"\x7fELF")
    assert built.schema == "0123456789abcdef"


def test_the_same_sources_are_compiled_once(guest: Path, cache: Path) -> None:
    first = build()
    (guest / "README").write_text("not compiled")
    assert build() == first
    assert len(list((cache / "daemons").iterdir())) == 1


def test_other_sources_give_another_daemon(guest: Path) -> None:
    first = build()
    (guest / "main.c").write_text("int main(void) { return 1; }\n")
    assert build().sha256 != first.sha256


@pytest.mark.parametrize("makefile", ["all:\n\tfalse\n", "all:\n"])
def test_a_failure_leaves_nothing(
    guest: Path, makefile: str, leftovers: Callable[[], list[str]], cache: Path
) -> None:
    (guest / "Makefile").write_text(makefile)
    with pytest.raises(ImageError, match="compiling sandboxd failed"):
        build()
    assert not leftovers()
    assert not list((cache / "daemons").iterdir())


def test_the_compilers_message_is_kept(guest: Path) -> None:
    (guest / "main.c").write_text("nonsense\n")
    with pytest.raises(ImageError) as caught:
        build()
    assert "main.c" in caught.value.detail


def test_a_header_without_a_digest(guest: Path) -> None:
    (guest / "protocol.h").write_text("")
    with pytest.raises(ImageError, match="no schema digest"):
        build()


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ImageError, match=r"musl-tools, or pip install ziglang"):
        build()

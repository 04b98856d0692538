"""Tests of the executable files of the guest's programs."""

from __future__ import annotations

import platform
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.captured import captured
from tests.support.daemon import GUEST
from tests.support.relay import RelayProcess

from microvm_image.programs import NAMES

HARDENED = (
    "-D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -fPIE -pie"
    " -fasynchronous-unwind-tables -Wformat -Wformat-security -Wl,-z,now -Wl,-z,relro"
)
"""Options that Ubuntu's gcc has by default."""

FOR_PROCESSOR = {"x86_64": "-fcf-protection", "aarch64": "-mbranch-protection=standard"}


def test_binary_is_small(shipped: Path) -> None:
    size = shipped.stat().st_size
    print(f"sandboxd is {size} bytes")
    assert size <= 26 << 10  # gcc: 24 KiB, clang: 25 KiB, and more with options of a distribution


def test_binary_is_static_and_stripped(shipped: Path) -> None:
    check_static_and_stripped(shipped)


@pytest.mark.thorough
@pytest.mark.parametrize("compiler", ["gcc", "clang -Qunused-arguments"])
def test_options_of_ubuntu_need_no_library(compiler: str, tmp_path: Path) -> None:
    cc = f"{compiler} {HARDENED} {FOR_PROCESSOR[platform.machine()]}"
    made = captured(["make", "-s", "-C", str(GUEST), f"OUT={tmp_path}", f"CC={cc}"], timeout=120)
    assert made.returncode == 0, made.stderr
    for name in NAMES:
        check_static_and_stripped(tmp_path / name)
    with closing(RelayProcess(tmp_path / "relay")) as relay:
        assert relay.exit() == (0, "")


def check_static_and_stripped(program: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    command = ["readelf", "--program-headers", "--sections", "--wide", str(program)]
    shown = captured(command, check=True, timeout=60).stdout
    assert "LOAD" in shown
    assert not {"INTERP", "DYNAMIC", ".symtab", ".debug_info"} & set(shown.split())

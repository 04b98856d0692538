"""Tests that each target of the Makefile installs only the system packages that it uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.project.test_tools import TARGETS
from tests.support.captured import captured

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]

C = {"gcc", "libc6-dev"}
RUN = {"qemu-system-x86", *C}
MUSL = {"musl-tools"}
KERNEL = {*C, "flex", "bison", "bc", "xz-utils", "libelf-dev"}
IMAGE = {"erofs-utils", "skopeo"}
FUZZ = {*C, "g++", "clang", "libclang-rt-dev", "cbmc"}
COUNTS = {*C, "valgrind"}
CROSS = {"gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"}
TEST = {*RUN, "erofs-utils"}
CHECK = {
    *(RUN | KERNEL | IMAGE | FUZZ | COUNTS | MUSL),
    *"tshark xxd bsdextrautils cpio strace umoci docker-registry mmdebstrap gpg".split(),
    *("e2fsprogs", "gcc-avr", "avr-libc", "cmake", "meson", "spin"),
    *("qemu-system-arm", "buildah", "netavark", *CROSS),
}
ARM = {"gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "qemu-system-arm"}

#: The packages that each target installs; all other targets install none.
NEEDS = {
    "hello": RUN,
    "lint": C,
    "test": TEST,
    "test-host": CHECK,
    "check": CHECK,
    "rest": CHECK,
    "test-aarch64": CHECK,
    "test-install": CHECK,
    "test-long": {*CHECK, *ARM, "libcap-dev", "chromium", "patch"},
    "test-kvm": {*RUN, *KERNEL, "mmdebstrap", "erofs-utils", "e2fsprogs"},
    "test-systems": {*MUSL, *KERNEL, "mmdebstrap", "ubuntu-keyring"},
    "test-systems-aarch64": {
        *(*MUSL, *KERNEL, *CROSS),
        *("mmdebstrap", "erofs-utils", "e2fsprogs", "qemu-system-arm"),
    },
    "counts": RUN | COUNTS,
    "terminal": RUN | IMAGE,
    "bench": RUN,
    "footprint": {*ARM, "protobuf-compiler"},
    "scale": RUN,
    "soak": RUN,
    "fuzz": RUN | FUZZ,
    "fuzz-mutants": RUN | FUZZ,
    "guest-pack": MUSL | KERNEL | CROSS,
}


def wanted(target: str, *settings: str) -> set[str]:
    """Return the packages that a target would install on a system with none of them."""
    command = ["make", "-n", "--no-print-directory", target, "VENV=/nowhere", "PYTHONS="]
    said = captured([*command, "ARCH=x86_64", *settings], cwd=ROOT, check=True).stdout
    needs = " ".join(re.findall(r"for need in (.*?); do", said, re.DOTALL)).split()
    return {need.rpartition(":")[2] for need in needs if need != "\\"}


@pytest.mark.parametrize("target", sorted(TARGETS - {"help"}))
def test_target_installs_only_packages_that_it_uses(target: str) -> None:
    assert wanted(target) == NEEDS.get(target, set())


def test_an_arm_host_needs_no_cross_compiler_for_its_own_guests() -> None:
    other = {"gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"}
    packages = wanted("test-aarch64", "ARCH=aarch64")
    assert other | {"qemu-system-arm", "qemu-system-x86"} <= packages
    assert not packages & CROSS


def test_a_pack_for_this_processor_takes_no_other_compiler() -> None:
    assert wanted("guest-pack", "GUESTS=x86_64") == MUSL | KERNEL

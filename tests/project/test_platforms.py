"""Tests that only the tables and the platform module distinguish architectures and systems."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.captured import captured

from microvm.arches import ACCELERATORS, ARCHES, BUSES

from .test_layers import NAMES, REPOSITORY

ALLOWED = {"microvm.arches", "microvm.system.platform"}

_ARCHES = {name for arch in ARCHES.values() for name in (arch.name, arch.debian)}
_SYSTEMS = {"linux", "darwin", "Linux", "Darwin", "macOS"}

#: The modules that contain paths in /proc: of the guest, or of a feature that only Linux has.
_WITH_PROC = {
    *("microvm.wire.files", "microvm.wire.streams", "microvm_image.programs"),
    *("microvm.qemu.cgroup", "microvm.qemu.launcher", "microvm.system.namespaces"),
}

_CALLS = re.compile(r"(sys\.platform|(os|platform)\.uname|platform\.(machine|processor)).*")

#: The numbers of permitted comparisons in modules, by the reason.
_PERMITTED = {
    # the systems and architectures of container images, which say for which guests the images are
    "microvm_image.sources.oci": 2,
    # values of the option `--accel`, and the user group of /dev/kvm
    "microvm.qemu.accel": 4,
    "microvm.cli.checks.kvm": 2,
    # an option of the doctor's machine, and the name of a check
    "microvm.cli.checks.machine": 2,
}


def questions(path: Path) -> Iterator[str]:
    """Yield the expressions that ask for an architecture or a system, each as source code."""
    tree = ast.parse(path.read_text())
    ours = any(
        isinstance(node, ast.ImportFrom) and node.module == "microvm.system"
        for node in ast.walk(tree)
    )
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            text = ast.unparse(node)
            if _CALLS.fullmatch(text) and not (ours and text == "platform.machine"):
                yield text
        elif isinstance(node, ast.Compare | ast.Dict | ast.MatchValue):
            found = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
            if found & (_ARCHES | _SYSTEMS | BUSES.keys() | ACCELERATORS.keys()):
                yield ast.unparse(node)


def test_modules_ask_neither_for_architecture_nor_system() -> None:
    found = {
        module: len(list(questions(path)))
        for module, path in NAMES.items()
        if module not in ALLOWED and not module.startswith("microvm_proto")
    }
    assert {module: count for module, count in found.items() if count} == _PERMITTED


def test_few_modules_use_proc_without_the_platform_module() -> None:
    def names_proc(path: Path) -> bool:
        nodes = ast.walk(ast.parse(path.read_text()))
        texts = (each.value for each in nodes if isinstance(each, ast.Constant))
        return any(str(text).startswith("/proc") for text in texts)

    assert {name for name, path in NAMES.items() if names_proc(path)} - ALLOWED == _WITH_PROC


@pytest.mark.parametrize("name", ARCHES)
def test_makefile_and_action_install_the_packages_of_the_table(name: str) -> None:
    package = ARCHES[name].qemu_package
    show = "show: ; @echo '$(QEMU_PACKAGE)' '$(GUESTS)'"
    said = captured(["make", "-s", f"--eval={show}", "show", f"ARCH={name}"], cwd=REPOSITORY).stdout
    assert said.split() == [package, *ARCHES]
    script = (REPOSITORY / ".github/action/host.sh").read_text()
    (line,) = (line for line in script.splitlines() if "package=" in line)
    said = captured(["bash", "-c", f'arch={name}; {line}; echo "$package"']).stdout
    assert said.strip() == package

"""Tests of which module may import which; lazy imports count, and those for types only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ROOTS = (REPOSITORY / "host", REPOSITORY / "image", REPOSITORY / "codegen")

FRONT = {"machine", "jobs", "dask", "sync", "testing"}
WINGS = {"wire", "guest", "qemu", "start", "supervisor", "cli", "bench"}

#: What each part may know beside itself; whoever is not named in `FRONT` or `WINGS` is the ground.
KNOWS = {
    "proto": set(),
    "ground": set(),
    "wire": {"ground"},
    "guest": {"ground", "wire"},
    "qemu": {"ground"},
    "image": {"ground"},
    "start": {"ground", "guest", "qemu", "image"},
    "front": {"ground", "wire", "guest", "qemu", "start", "image"},
    "supervisor": {"ground", "wire", "guest", "front"},
    "cli": {
        "ground",
        "wire",
        "guest",
        "qemu",
        "start",
        "image",
        "front",
        "supervisor",
        "bench",
        "proto",
    },
    "bench": {"ground", "wire", "guest", "qemu", "start", "image", "front", "supervisor"},
}

#: The modules of the generator: each may know only those before it.
PROTO = (
    "types",
    "framing",
    "variants",
    "schema",
    "faults",
    "positions",
    "diagnostics",
    "load",
    "unknown_type",
    "released",
    "digest",
    "frame",
    "stream",
    "backends",
    "resolve_framing",
    "lint",
    "resolve_types",
    "resolve",
    "generate",
    "init",
    "importers",
    "breaking_fields",
    "breaking",
    "dump",
    "source",
    "capture",
    "segments",
    "splitter",
    "explain",
    "conversation",
    "cli",
)


def part(module: str) -> str:
    """The part of the project that a module is in."""
    package, _, rest = module.partition(".")
    if package != "microvm":
        return {"microvm_image": "image", "microvm_proto": "proto"}[package]
    top = rest.partition(".")[0]
    if top == "__main__":
        return "cli"
    if not top or top in FRONT:
        return "front"
    return top if top in WINGS else "ground"


def modules() -> Iterator[tuple[str, Path]]:
    for root in ROOTS:
        for path in root.rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            if parts[0].startswith("microvm"):
                yield ".".join(parts).removesuffix(".__init__"), path


NAMES = dict(modules())


def names_imported(path: Path) -> Iterator[str]:
    """The names that a file imports anywhere in it, each behind its module's."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports anywhere in it."""
    for name in names_imported(path):
        if name.partition(".")[0] in {"microvm", "microvm_image", "microvm_proto"}:
            yield name if name in NAMES else name.rpartition(".")[0]


@pytest.mark.parametrize("module", sorted(NAMES))
def test_a_module_knows_only_what_lies_below_it(module: str) -> None:
    here = part(module)
    foreign = {name for name in imported(NAMES[module]) if part(name) != here}
    wrong = {name for name in foreign if part(name) not in KNOWS[here]}
    if module == "microvm":  # whose names are imported when they are asked for, and its magic is
        wrong = {name for name in wrong if part(name) == "cli"} - {"microvm.cli.notebook"}
    assert not wrong


def test_what_an_extra_brings_is_imported_by_nobody_who_does_without() -> None:
    def needs_it(path: Path) -> bool:
        return any(
            name.partition(".")[0] in {"dask", "distributed"}
            or f"{name}.".startswith("microvm.dask.")
            for name in names_imported(path)
        )

    wanting = {name for name, path in NAMES.items() if needs_it(path)}
    assert {name for name in wanting if not name.startswith("microvm.dask")} == {
        "microvm.cli.verbs.map"
    }


@pytest.mark.parametrize("module", sorted(name for name in NAMES if part(name) == "proto"))
def test_the_generator_goes_one_way_from_the_schema_to_its_command_line(module: str) -> None:
    def rank(name: str) -> int:
        top = name.partition(".")[2].partition(".")[0]
        return PROTO.index(top) if top else len(PROTO)

    assert not {name for name in imported(NAMES[module]) if rank(name) > rank(module)}

"""Tests of the imports between modules, including lazy imports and those for types."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROOTS = (REPOSITORY / "host", REPOSITORY / "image", REPOSITORY / "codegen")

#: The parts that each part may import. A part is a package of that name in `microvm`, except
#: `builder` and `proto`, which are `microvm_image` and `microvm_proto`; `package`, which is the
#: package `microvm` itself, which no part imports; and the ground, which is everything else.
KNOWS = {
    "proto": set(),
    "ground": set(),
    "wire": {"ground"},
    "guest": {"ground", "wire"},
    "qemu": {"ground"},
    "images": {"ground"},
    "start": {"ground", "guest", "qemu", "images"},
    "machine": {"ground", "wire", "guest", "qemu", "start", "images"},
    "interpreter": {"ground", "wire", "guest", "start", "images", "machine", "builder"},
    "builder": {"ground", "guest", "qemu", "start", "images", "machine"},
    "jobs": {"ground", "guest", "start", "images", "machine", "interpreter", "builder"},
    "supervisor": {"ground", "wire", "guest", "images", "machine", "jobs", "builder"},
    "sync": {
        *"ground wire guest images machine interpreter supervisor jobs builder".split(),
    },
    "testing": {"ground", "wire", "guest", "qemu", "start", "images", "machine", "sync", "builder"},
    "dask": {"ground", "start", "images", "machine", "supervisor", "jobs", "sync", "builder"},
    "frameworks": {
        *"ground wire guest images machine interpreter supervisor jobs sync".split(),
    },
    "bench": {"ground", "qemu", "start", "images", "machine", "jobs", "builder"},
    "package": {"ground", "guest", "images", "machine", "interpreter", "supervisor", "jobs"},
    "cli": {
        *"ground wire guest qemu start images machine supervisor jobs sync dask".split(),
        *("interpreter", "bench", "builder", "proto"),
    },
}

#: The modules that import a module of a higher part lazily.
EXCEPTIONS = {
    "microvm": {"microvm.cli.notebook"},  # IPython's `%load_ext microvm`
    "microvm.images.readymade": {  # builds an image that does not exist
        "microvm_image.build",
        "microvm_image.defaults",
        "microvm_image.recipe",
        "microvm_image.step_runner",
    },
    "microvm.images.renewal": {"microvm_image.programs", "microvm_image.repack"},
    "microvm.jobs.pool": {"microvm.supervisor.client.attached_pool"},  # `Pool.attach`
    "microvm.machine.named": {  # `MicroVM.attach` and `start_named`
        "microvm.supervisor.client.attached",
        "microvm.supervisor.client.start_named",
    },
}

#: The modules of the generator: each may import only the ones before it.
PROTO = """
    types framing variants states schema faults positions diagnostics load unknown_type released
    digest frame stream conversation_rules follower backends drawing resolve_framing resolve_states
    lint resolve_types resolve generate init importers breaking_fields breaking dump source capture
    segments splitter order explain conversation cli
""".split()


def part(module: str) -> str:
    """Return the part of the project that a module belongs to."""
    package, _, rest = module.partition(".")
    if package != "microvm":
        return {"microvm_image": "builder", "microvm_proto": "proto"}[package]
    top = rest.partition(".")[0]
    if top == "__main__":
        return "cli"
    return (top if top in KNOWS else "ground") if top else "package"


def modules() -> Iterator[tuple[str, Path]]:
    for root in ROOTS:
        for path in root.rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            if parts[0].startswith("microvm"):
                yield ".".join(parts).removesuffix(".__init__"), path


NAMES = dict(modules())


@functools.cache
def names_imported(path: Path) -> list[str]:
    """Return the names that a file imports anywhere, each with its module."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


#: The modules that define the names in the package `microvm`.
BEHIND = {
    f"microvm.{name.rpartition('.')[2]}": name.rpartition(".")[0]
    for name in names_imported(NAMES["microvm"])
}


def imported(path: Path) -> Iterator[str]:
    """Return our modules that a file imports anywhere, by any name."""
    for name in names_imported(path):
        if name.partition(".")[0] in {"microvm", "microvm_image", "microvm_proto"}:
            yield name if name in NAMES else BEHIND.get(name) or name.rpartition(".")[0]


def test_modules_import_only_lower_parts() -> None:
    found = {}
    for module, path in NAMES.items():
        here = part(module)
        foreign = {name for name in imported(path) if part(name) != here}
        if wrong := {name for name in foreign if part(name) not in KNOWS[here]}:
            found[module] = wrong
    assert found == EXCEPTIONS


def test_client_and_supervisor_share_only_common_modules() -> None:
    both = set("error_json failures lazy machine_directory names runtime_directory wire".split())
    supervisor, client = "microvm.supervisor.", "microvm.supervisor.client."
    for module in (name for name in NAMES if name.startswith(supervisor)):
        theirs = {name for name in imported(NAMES[module]) if name.startswith(supervisor)}
        if module.startswith(client):
            theirs -= {name for name in theirs if name.startswith(client)}
            assert theirs <= {f"{supervisor}{name}" for name in both}, module
        else:
            assert not {name for name in theirs if name.startswith(client)}, module


def test_dependencies_of_extras_are_imported_only_by_their_users() -> None:
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


def test_adapters_of_frameworks_are_short_and_independent() -> None:
    here = {name for name in NAMES if part(name) == "frameworks"}
    shared = {
        *("versions", "resources"),
        *("inspect_process", "openai_session", "openai_processes", "smolagents_answer"),
    }
    adapters = here - {f"microvm.frameworks.{name}" for name in shared}
    assert max(len(NAMES[name].read_text().splitlines()) for name in adapters) <= 200
    assert {name for name, path in NAMES.items() if adapters.intersection(imported(path))} == set()


def test_imports_of_the_generator_go_one_way() -> None:
    def rank(name: str) -> int:
        top = name.partition(".")[2].partition(".")[0]
        return PROTO.index(top) if top else len(PROTO)

    for module in (name for name in NAMES if part(name) == "proto"):
        higher = {name for name in imported(NAMES[module]) if rank(name) > rank(module)}
        assert not higher, module


def test_few_parts_import_the_builder_of_images() -> None:
    importing = {
        part(name)
        for name, path in NAMES.items()
        if any(part(each) == "builder" for each in imported(path))
    }
    # `images` has one exception
    assert importing - {"builder"} == {"images", "interpreter", "dask", "cli"}

"""`python -m tests.systems`: test the wheels on other distributions, as root and as a user."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click

from .systems import EMULATED, SYSTEMS
from .table import PAGE, RESULTS, renewed


@click.command()
@click.argument("built", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("roots", type=click.Path(file_okay=False, path_type=Path))
@click.option("--emulated", is_flag=True, help="Test the emulated systems instead of the others.")
def main(built: Path, roots: Path, *, emulated: bool) -> None:
    """Install the wheels in BUILT on each distribution, and run the steps of a new user.

    ROOTS contains the root file systems; missing ones are created. The results are saved, and
    written into the table of docs/systems.md. The results of systems that are not tested are kept.
    """
    results = json.loads(RESULTS.read_text())
    with tempfile.TemporaryDirectory() as folder:
        for system in EMULATED if emulated else SYSTEMS:
            root, wheels = roots.resolve() / system.folder, Path(folder, system.folder)
            if not root.exists():
                click.echo(f"{system.name}: making its root file system")
                root.parent.mkdir(parents=True, exist_ok=True)
                system.make(root)
            system.download(built, wheels)
            results = [each for each in results if each["system"] != system.name]
            for user in (False, True):
                results.append(system.visit(root, wheels, user=user))
                click.echo(json.dumps(results[-1]))
    order = [system.name for system in (*SYSTEMS, *EMULATED)]
    results.sort(key=lambda each: order.index(each["system"]))
    lines = ",\n".join(map(json.dumps, results))  # one line for each result
    RESULTS.write_text(f"[\n{lines}\n]\n")
    PAGE.write_text(renewed(PAGE.read_text()))


if __name__ == "__main__":
    main()

"""The command `blocklist`, which blocks host names by lines in /etc/hosts.

blocklist add NAME... | remove NAME... | list
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

HOSTS = Path("/etc/hosts")
MARK = "# blocklist"


def blocked(lines: Iterable[str]) -> list[str]:
    """Return the names that these lines block."""
    return [line.split()[1] for line in lines if line.endswith(MARK)]


def write(lines: Iterable[str]) -> None:
    """Replace the file by these lines, completely or not at all."""
    new = HOSTS.with_name(".hosts.new")
    try:
        with new.open("w") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        new.chmod(0o644)
        new.replace(HOSTS)
    finally:
        new.unlink(missing_ok=True)


def main() -> None:
    """Run the command line."""
    verb, *names = sys.argv[1:] or ["list"]
    lines = HOSTS.read_text().splitlines()
    try:
        if verb == "add":
            missing = [name for name in names if name not in blocked(lines)]
            write([*lines, *(f"0.0.0.0 {name} {MARK}" for name in missing)])
        elif verb == "remove":
            write(line for line in lines if not set(blocked([line])) & set(names))
        elif verb == "list":
            print(*blocked(lines), sep="\n")
        else:
            sys.exit((__doc__ or "").strip())
    except OSError as error:
        sys.exit(f"blocklist: {error}")

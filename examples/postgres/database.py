"""The database in a machine, as tests see it."""

from __future__ import annotations

from microvm.sync import MicroVM

PSQL = ["psql", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]


class Database:
    """The database of a machine in which PostgreSQL runs."""

    def __init__(self, vm: MicroVM) -> None:
        self._vm = vm

    def query(self, sql: str) -> str:
        """Run statements as the database's administrator, and return what they print.

        :raises CalledProcessError: of `subprocess`; the server refuses one.
        """
        return self._vm.run(PSQL, input=sql, user="postgres", text=True, check=True).stdout.strip()

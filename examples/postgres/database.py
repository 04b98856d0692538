"""Access to the database in a machine."""

from __future__ import annotations

from microvm.sync import MicroVM

PSQL = ["psql", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]


class Database:
    """The PostgreSQL database in a machine."""

    def __init__(self, vm: MicroVM) -> None:
        self._vm = vm

    def query(self, sql: str) -> str:
        """Run SQL statements as the administrator, and return their output.

        :raises CalledProcessError: If the server refuses a statement; an exception of `subprocess`.
        """
        return self._vm.run(PSQL, input=sql, user="postgres", text=True, check=True).stdout.strip()

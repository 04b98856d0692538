"""Fixtures that give each test a fork of a machine with a prepared database."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from database import connected

from microvm import Snapshot
from microvm.sync import MicroVM

PREPARED = """
CREATE TABLE accounts (owner text PRIMARY KEY, cents bigint NOT NULL CHECK (cents >= 0));
INSERT INTO accounts SELECT 'owner ' || n, 10000 FROM generate_series(1, 1000) AS n;
"""


@pytest.fixture(scope="session")
def prepared() -> Iterator[Snapshot]:
    """Yield the snapshot of a machine with a running, filled database."""
    with MicroVM("postgres", memory="512M") as vm:
        vm.run(["pg_ctlcluster", "17", "main", "start"], check=True)
        vm.run(["createuser", "--superuser", "root"], user="postgres", check=True)
        with connected(vm) as database:
            database.execute(PREPARED)
        with vm.checkpoint() as snapshot:
            yield snapshot


@pytest.fixture
def database(prepared: Snapshot) -> Iterator[psycopg.Connection]:
    """Yield a connection to the prepared database in a new machine, which the fixture discards."""
    with MicroVM(prepared) as vm, connected(vm) as database:
        yield database

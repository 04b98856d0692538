"""Fixtures that give each test a fork of a machine with a prepared database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from database import Database

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
        Database(vm).query(PREPARED)
        with vm.checkpoint() as snapshot:
            yield snapshot


@pytest.fixture
def database(prepared: Snapshot) -> Iterator[Database]:
    """Yield the prepared database; changes by a test are discarded with its machine."""
    with MicroVM(prepared) as vm:
        yield Database(vm)

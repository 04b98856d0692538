"""Tests that destroy the data of their database, and still find the original data."""

from __future__ import annotations

import subprocess

import pytest
from database import Database

COUNT = "SELECT count(*) FROM accounts WHERE cents = 10000;"
STATEMENTS = [
    "DROP TABLE accounts; CREATE TABLE accounts (cents bigint);",
    "TRUNCATE accounts;",
    "DELETE FROM accounts WHERE owner <> 'owner 1';",
    "UPDATE accounts SET cents = 0;",
]


@pytest.mark.parametrize("statement", STATEMENTS * 5)
def test_each_test_finds_the_original_data(database: Database, statement: str) -> None:
    assert database.query(COUNT) == "1000"
    database.query(statement)
    assert database.query(COUNT) in {"0", "1"}


def test_an_account_cannot_be_overdrawn(database: Database) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        database.query("UPDATE accounts SET cents = -1;")
    assert database.query(COUNT) == "1000"

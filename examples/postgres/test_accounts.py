"""Tests that destroy the data of their database, and still find the original data."""

from __future__ import annotations

import psycopg
import pytest

STATEMENTS = [
    "DROP TABLE accounts; CREATE TABLE accounts (cents bigint);",
    "TRUNCATE accounts;",
    "DELETE FROM accounts WHERE owner <> 'owner 1';",
    "UPDATE accounts SET cents = 0;",
]


def count(database: psycopg.Connection) -> int:
    """Return the number of accounts that still have the original amount of money."""
    return database.execute("SELECT FROM accounts WHERE cents = 10000").rowcount


@pytest.mark.parametrize("statement", STATEMENTS * 5)
def test_each_test_finds_the_original_data(database: psycopg.Connection, statement: str) -> None:
    assert count(database) == 1000
    database.execute(statement)
    assert count(database) in {0, 1}


def test_an_account_cannot_be_overdrawn(database: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        database.execute("UPDATE accounts SET cents = -1")
    assert count(database) == 1000

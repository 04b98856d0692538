"""Connects psycopg, which runs on this host, to the database in a machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from microvm.sync import MicroVM

SOCKET = "/run/postgresql/.s.PGSQL.5432"


@contextmanager
def connected(vm: MicroVM) -> Iterator[psycopg.Connection]:
    """Yield a connection to the database in a machine, as the guest's user root."""
    with vm.forward(0, SOCKET) as forward:
        host, port = forward.address
        where = f"host={host} port={port} user=root dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            yield connection

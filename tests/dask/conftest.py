"""Fixtures with a Dask cluster on this host, which the tests share. Its workers are processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dask import config
from distributed import Client, LocalCluster
from tests.image import oci
from tests.support.polling import eventually
from tests.support.processes import children, program

from microvm.images import Image

WORKERS = 2
VARIABLE = "MICROVM_TEST_VARIABLE"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run these tests last, because Dask keeps processes and descriptors that others count."""
    here = Path(__file__).parent
    items.sort(key=lambda item: here in item.path.parents)


@pytest.fixture(scope="session")
def client(image: Image) -> Iterator[Client]:
    """A client of the cluster, whose workers have one thread each, and a secret variable."""
    del image
    os.environ[VARIABLE] = "of-the-host"
    with (
        config.set({"distributed.deploy.lost-worker-timeout": "1 day"}),  # since tests kill workers
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=False,
            scheduler_kwargs={"allowed_failures": 1},
        ) as cluster,
        cluster.get_client() as client,
    ):
        yield client
    del os.environ[VARIABLE]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of a repository in a registry."""
    with oci.registry(tmp_path) as address:
        yield f"docker://{address}/batches"


@pytest.fixture
def _nothing_left(client: Client) -> Iterator[None]:
    """Check that the test leaves no machine, and that all workers run."""
    yield
    client.wait_for_workers(WORKERS, timeout=60)
    eventually(lambda: not any(machines(client).values()))


def machines(client: Client) -> dict[str, list[int]]:
    """Return the QEMU processes of each worker, by the worker's address."""
    return {
        address: [child for child in children(pid) if program(child).startswith("qemu")]
        for address, pid in client.run(os.getpid).items()
    }

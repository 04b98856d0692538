"""Runs batches of jobs on a Dask cluster, without `async`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from distributed import Client

from microvm.concurrency.loop import BackgroundLoop
from microvm.dask import batch, cluster
from microvm.dask.batch import BatchOptions
from microvm.jobs.job import Job, Outcome
from microvm.machine.snapshot import Snapshot
from microvm.option import document_options
from microvm.options import Text
from microvm.sync.pool import next_outcome, read_in_thread

if TYPE_CHECKING:
    from microvm.images import Image


@document_options(BatchOptions)
def map(  # noqa: A001 - as `Pool.map` is called
    commands: Iterable[Job | Sequence[Text]],
    *,
    client: Client | None = None,
    scheduler: str = cluster.LOCAL,
    image: Image | Snapshot | str | Path | None = None,
    registry: str | None = None,
    pool: str | None = None,
    size: int | None = None,
    ordered: bool = True,
    **options: Unpack[BatchOptions],
) -> Iterator[Outcome[Any]]:
    """Run each command in a machine of its own on a cluster; see `microvm.dask.map`.

    :param commands: See `microvm.sync.Pool.map`.
    """
    outcomes = batch.map(
        read_in_thread(iter(commands)),
        client=client,
        scheduler=scheduler,
        image=image,
        registry=registry,
        pool=pool,
        size=size,
        ordered=ordered,
        **options,
    )
    loop = BackgroundLoop(outcomes.aclose, lambda: "", "batch")
    try:
        while (outcome := loop.run(next_outcome(outcomes))) is not None:
            yield outcome
    finally:
        loop.close()

"""Runs jobs on a Dask cluster, in the machines of many hosts.

::

    async for outcome in microvm.dask.map([["echo", "hello"]], scheduler="tcp://head:8786"):
        print(outcome.result().stdout)

`microvm.dask.sync` offers the same without `async`. Both need the extra `dask`.
"""

from microvm.dask.batch import map  # noqa: A004 - as `Pool.map` is called

__all__ = ["map"]

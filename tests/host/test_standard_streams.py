"""Tests of standard streams that are non-blocking, because another process made them so."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from io import BufferedWriter

from microvm.cli.standard_streams import BlockingStream

BIG = bytes(range(256)) * 1000  # more than the capacity of a pipe


def test_non_blocking_streams_are_waited_for() -> None:
    source, sink = os.pipe()
    for descriptor in (source, sink):
        os.set_blocking(descriptor, False)
    with ThreadPoolExecutor(1) as threads, BlockingStream(source) as reader:

        def read() -> bytes:
            return b"".join(iter(lambda: reader.read(1000), b""))

        reading = threads.submit(read)
        with BufferedWriter(BlockingStream(sink, "w")) as writer:
            writer.write(BIG)
        assert reading.result() == BIG

"""The benchmark, which measures the time and memory of machines on this host.

`measure` boots real guests and returns a `Report`, which `table`, `export` and `plot` show.
"""

STREAM_SIZE = 64 << 20
"""Number of bytes in a measurement of throughput; baseline/guest.c contains the same number."""

"""The benchmark, which measures the time and memory of machines on this host.

`measure` boots real guests and returns a `Report`, which `table`, `export` and `plot` show.
"""

"""The benchmark: measurements of this library on this machine.

`measure` boots real guests and returns a `Report`; `table`, `export` and `plot` show one.
"""

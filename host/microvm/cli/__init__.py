"""The command line `microvm`."""

import time

BEGUN = time.monotonic()
"""The time when the command began, in seconds; the log counts from it."""

"""The program `microvm`, which users run in a shell."""

import time

BEGUN = time.monotonic()
"""The time at which this program was started, by the monotonic clock. The log counts from it."""

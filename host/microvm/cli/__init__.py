"""The command line `microvm`."""

import time

BEGUN = time.monotonic()
"""The start time of the command in seconds, on the monotonic clock. The log's times start here."""

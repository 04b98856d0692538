"""Event loops, tasks and threads, each of which ends with whoever started it."""

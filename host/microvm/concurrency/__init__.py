"""Event loops in background threads, the cancellation of tasks, and the start of threads."""

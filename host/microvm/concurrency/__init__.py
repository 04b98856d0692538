"""Background event loops, the end of tasks, and threads."""

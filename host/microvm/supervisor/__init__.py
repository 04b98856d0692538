"""Named machines: each has a supervisor process, which outlives the command that started it."""

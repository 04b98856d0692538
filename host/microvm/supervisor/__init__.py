"""Named machines: a supervisor process for each, which outlives the command that started it."""

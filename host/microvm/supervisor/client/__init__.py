"""The client of a supervisor: a named machine, as any other process has it."""

"""The client of a supervisor: other processes use a named machine through it."""

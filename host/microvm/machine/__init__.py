"""A machine as its user has it: its start and its end, its commands and files, its snapshots."""

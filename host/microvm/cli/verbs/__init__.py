"""The verbs of the command line, and groups of them; `cli/root.py` has the table of all."""

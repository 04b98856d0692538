"""The verbs of the command line. `cli/root.py` contains the table of all verbs."""

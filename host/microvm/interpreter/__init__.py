"""A Python interpreter in a guest, which keeps its variables from one cell to the next."""

"""`python -m microvm` is the command `microvm`."""

from microvm.cli import main

main()

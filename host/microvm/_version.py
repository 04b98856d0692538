"""The name and the version of this Python distribution. Its build reads the version here."""

DISTRIBUTION = "microvm-proto"

__version__ = "0.1.0"

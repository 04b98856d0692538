"""The name and the version of the distribution; the build reads the version."""

DISTRIBUTION = "microvm-proto"

__version__ = "0.1.0"

"""Machines as their user sees them: start and stop, commands, files, and snapshots."""

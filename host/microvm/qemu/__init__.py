"""QEMU: its command line, its confinement, its process, QMP, and how it came to its end."""

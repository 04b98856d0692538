"""QEMU: its command line, its process, QMP, and how it came to its end."""

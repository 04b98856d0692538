"""Starts and controls QEMU: its command line, confinement, process, QMP connection and exit."""

"""A running guest: its commands with their streams and deadlines, and the transfer of files.

No module here depends on QEMU.
"""

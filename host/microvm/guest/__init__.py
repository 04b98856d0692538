"""A live guest: its commands, their streams and deadlines, and the files that go in and out.

Nothing here knows QEMU.
"""

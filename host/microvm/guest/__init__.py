"""A live guest: commands, their streams and deadlines. Nothing here knows QEMU."""

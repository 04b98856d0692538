"""Constants of the protocol sandboxd. Generated from sandboxd.toml."""

PORT_NAME = "microvm.sandboxd.0"
MAGIC = 0xA6D766F7263696D
MAX_COMMANDS = 64

"""The limits of an MCP server, which its user sets and no client can raise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from microvm.options import MachineOptions

MAX_ARGUMENT = 4 << 20
"""Maximum number of characters of an argument of a tool, such as the content of a file."""

MAX_COMMAND_LINE = 128 * 1024 - 1
"""Maximum number of bytes of a command line, which is one argument of a shell in the guest."""

MAX_MESSAGE = 64 << 20
"""Maximum number of bytes of a message of a client.

A message can contain an argument of the maximum size, whose characters take up to 12 bytes in JSON.
"""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The limits of a server and of the machines that it starts.

    :ivar images: Images of which clients can start machines. The first one is the default.
    :ivar machine: Options of each machine, such as its memory.
    :ivar timeout: Maximum number of seconds that a command may take.
    :ivar max_machines: Maximum number of machines that run at the same time, in all sessions.
    :ivar max_snapshots: Maximum number of snapshots that exist at the same time, in all sessions.
    :ivar max_result: Maximum number of bytes of the text that a tool returns.
    :ivar folder: Folder of the host from which clients can copy files, or None.
    :ivar ports: True if clients can forward ports of the host to machines.
    """

    images: tuple[str, ...]
    machine: MachineOptions
    timeout: float
    max_machines: int
    max_snapshots: int
    max_result: int
    folder: Path | None
    ports: bool

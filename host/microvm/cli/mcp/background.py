"""Commands in the background of a machine, whose output a client reads later.

All that is known of such a command is in files of the guest, so a fork of the machine has it, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

_FOLDER = "/tmp/.microvm-background"  # noqa: S108 - a folder in the guest

# Starts the command $1 in a session of its own, and prints its process id. The folder of the
# command has the process id as its name. Both shells create it, because either may be first.
_START = f"""
setsid sh -c '
  folder={_FOLDER}/$$
  mkdir -p "$folder" && rm -f "$folder/status" && exec >"$folder/output" 2>&1 || exit
  sh -c "$1"
  echo $? >"$folder/status"
' sh "$1" >/dev/null 2>&1 </dev/null &
mkdir -p "{_FOLDER}/$!" && : >>"{_FOLDER}/$!/output" && echo $!
"""

# Waits at most $2 tenths of a second until the command $1 exits. Prints its exit status if it has
# exited, the size of its output, and the output itself from position $3, at most $4 bytes.
_READ = f"""
folder={_FOLDER}/$1
[ -e "$folder/output" ] || exit 1
waited=0
while [ ! -s "$folder/status" ] && [ "$waited" -lt "$2" ]; do
  sleep 0.1
  waited=$((waited + 1))
done
cat "$folder/status" 2>/dev/null || echo running
wc -c <"$folder/output"
tail -c "+$(($3 + 1))" "$folder/output" | head -c "$4"
"""


def start(command: str) -> list[str]:
    """Return the command that starts another one in the background, and prints its process id."""
    return ["sh", "-c", _START, "sh", command]


def read(process: int, position: int, wait: float, limit: int) -> list[str]:
    """Return the command that prints an `OutputReport` of a background command.

    It fails if the machine has no such command.

    :param wait: Maximum number of seconds to wait until the command exits.
    """
    return ["sh", "-c", _READ, "sh", str(process), str(round(wait * 10)), str(position), str(limit)]


@dataclass(frozen=True, slots=True)
class OutputReport:
    """The state of a background command, and a part of its output.

    :ivar status: Exit status, or None if the command runs.
    :ivar size: Number of bytes of the output so far.
    :ivar output: The requested part of the output.
    """

    status: int | None
    size: int
    output: bytes

    @classmethod
    def parse(cls, printed: bytes) -> Self:
        """Create a report from the output of `read`.

        :raises ValueError: If the guest has printed something else.
        """
        status, size, output = printed.split(b"\n", 2)
        return cls(None if status == b"running" else int(status), int(size), output)

    @property
    def state(self) -> str:
        """Text that says whether the command has exited."""
        return "running" if self.status is None else f"exit status {self.status}"

"""Commands in the background of a machine, whose output a client reads later.

All that is known of such a command is in files of the guest, so a fork of the machine has it, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

_FOLDER = "/tmp/.microvm-background"  # noqa: S108 - a folder in the guest
_MAX_STATUS = 255

# Prints the output of the script $1, which has the command $2 as its argument. The script runs in a
# session of its own, so it continues when it has closed its standard output.
_START = 'echo "$(setsid sh -c "$1" sh "$2" 2>/dev/null </dev/null &)"'

# Starts the command $1 in a session of its own, and prints its process id. Then waits for its exit.
# The command has another session than this script, so `kill -- -ID` does not end the script. The
# exit status is the target of a symbolic link, because that is created in one step, also on a full
# disk. The output is opened before the command starts, because the folder is renamed afterwards.
_RUN = f"""
folder={_FOLDER}
new=$folder/new-$$
mkdir -p "$new" && ln -sfn $$ "$new/script" && : >"$new/output" || exit
exec 3>"$new/output"
setsid sh -c "$1" >&3 2>&1 3>&- &
exec 3>&-
rm -rf "$folder/$!" && mv "$new" "$folder/$!" && echo $!
exec >/dev/null
wait $!
ln -s $? "$folder/$!/status"
"""

# Prints the state of the command $1, the size of its output, and the output itself from position
# $2, at most $3 bytes. The state is `running`, the exit status, or `lost` if the script that waited
# for the command was killed, too. Looks for the processes before the exit status, because it
# exists once both have exited.
_READ = f"""
folder={_FOLDER}/$1
[ -e "$folder/output" ] || exit 1
state=lost
[ -e "/proc/$1" ] || [ -e "/proc/$(readlink "$folder/script")" ] && state=running
readlink "$folder/status" || echo $state
wc -c <"$folder/output"
tail -c "+$(($2 + 1))" "$folder/output" | head -c "$3"
"""


def start(command: str) -> list[str]:
    """Return the command that starts another one in the background, and prints its process id."""
    return ["sh", "-c", _START, "sh", _RUN, command]


def read(process: int, position: int, limit: int) -> list[str]:
    """Return the command that prints an `OutputReport` of a background command.

    It fails if the machine has no such command.
    """
    return ["sh", "-c", _READ, "sh", str(process), str(position), str(limit)]


@dataclass(frozen=True, slots=True)
class OutputReport:
    """The state of a background command, and a part of its output.

    :ivar is_running: True if the command has not exited.
    :ivar status: Exit status, or None if the command runs or its exit status is unknown.
    :ivar size: Number of bytes of the output so far.
    :ivar output: The requested part of the output.
    """

    is_running: bool
    status: int | None
    size: int
    output: bytes

    @classmethod
    def parse(cls, printed: bytes) -> Self:
        """Create a report from the output of `read`.

        :raises ValueError: If the guest has printed something else.
        """
        state, size, output = printed.split(b"\n", 2)
        status = None if state in (b"running", b"lost") else int(state)
        if status is not None and not 0 <= status <= _MAX_STATUS:
            raise ValueError(f"no exit status: {status}")
        return cls(state == b"running", status, int(size), output)

    @property
    def state(self) -> str:
        """Text that says whether the command has exited."""
        if self.is_running:
            return "running"
        if self.status is None:
            return "killed, with an unknown exit status"
        return f"exit status {self.status}"

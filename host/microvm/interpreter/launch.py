"""Starts the program of an interpreter in a machine."""

from __future__ import annotations

from microvm.errors import InterpreterError
from microvm.guest.process import Process
from microvm.interpreter.program import program
from microvm.machine.base import Machine
from microvm.options import ExecOptions

SOCKET = "/tmp/.microvm-python"  # noqa: S108 - a path in the guest
"""Path of the socket, in the guest, of an interpreter that has a machine of its own."""

# Only root can write to this folder, so no other user of the guest can replace the program.
_PROGRAM = "/run/.microvm/interpreter.py"
_ROOT = "0"

_START_TIMEOUT = 120.0
_LAST_LINE = 200  # maximum number of characters of the program's last line in an error


async def start(vm: Machine, socket: str = SOCKET) -> None:
    """Start an interpreter as a background process of a machine.

    :param socket: Path of the interpreter's socket.
    :raises StartError: If the guest has no program `python3`.
    :raises InterpreterError: If the program fails.
    """
    await _install(vm)
    command = ["python3", _PROGRAM, socket]
    done = await vm.run(command, timeout=_START_TIMEOUT, text=True, errors="replace")
    if done.returncode:
        raise _failed(done.stderr)


async def start_beside(vm: Machine, socket: str, options: ExecOptions) -> Process:
    """Start an interpreter as a command of a machine, beside other commands.

    :param socket: Path of the interpreter's socket.
    :return: The command, which exits when the interpreter dies.
    :raises StartError: If the guest has no program `python3`.
    :raises InterpreterError: If the program fails.
    """
    await _install(vm)
    process = await vm.exec(["python3", _PROGRAM, socket, "--stay"], **options)
    try:
        if not await process.stdout.readline(timeout=_START_TIMEOUT):
            _, stderr = await process.communicate()
            raise _failed(stderr.decode(errors="replace"))
    except BaseException:
        await process.__aexit__()
        raise
    return process


async def _install(vm: Machine) -> None:
    """Write the program atomically, because Python of another interpreter may be reading it."""
    await vm.write_file(_PROGRAM, program(), user=_ROOT, mode=0o644, atomic=True)


def _failed(stderr: str) -> InterpreterError:
    last = stderr.strip().rpartition("\n")[2][:_LAST_LINE]
    return InterpreterError(f"cannot start an interpreter: {last}")

"""Controllers that are killed at different moments of a launch.

killed.py COUNT SECONDS LAUNCHER OPTION… kills at COUNT moments within SECONDS, and prints how often
the program had been executed. It fails if a process remains.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

TIMEOUT = 30  # seconds


def launch(launcher: str, options: list[str], stdin: int, stdout: int) -> None:
    """Spawn a program that reports its start and does not exit."""
    controller = ["--controller", str(os.getpid())]
    command = [launcher, *controller, *options, "--", "/bin/sh", "-c", "echo executed; read line"]
    streams = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)]
    os.posix_spawn(launcher, command, {}, file_actions=streams)


def kill_after(seconds: float, launcher: str, options: list[str]) -> tuple[bool, bool]:
    """Return whether the program was executed, and whether a process remained."""
    stdin, never = os.pipe()
    output, stdout = os.pipe()
    controller = os.fork()
    if controller == 0:
        launch(launcher, options, stdin, stdout)
        time.sleep(TIMEOUT)
        os._exit(1)
    os.close(stdin)
    os.close(stdout)
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        pass
    os.kill(controller, signal.SIGKILL)
    os.waitpid(controller, 0)
    said, left = b"", False
    while not left:  # until no process has the pipe open
        readable, _, _ = select.select([output], [], [], TIMEOUT)
        left = not readable
        if readable and not (more := os.read(output, 100)):
            break
        said += more if readable else b""
    os.close(never)
    os.close(output)
    return bool(said), left


def main() -> None:
    count, seconds = int(sys.argv[1]), float(sys.argv[2])
    executed = 0
    for number in range(count):
        was_executed, left = kill_after(seconds * number / count, sys.argv[3], sys.argv[4:])
        executed += was_executed
        if left:
            sys.exit(f"something was left of controller {number} of {count}")
    print(executed)


if __name__ == "__main__":
    main()

"""Runs detached commands for the command line: starts them, attaches to them, and signals them."""

from __future__ import annotations

from typing import Any

from microvm.supervisor.client.blocking import connect
from microvm.supervisor.client.foreground_command import (
    PIPE,
    Ended,
    ForegroundCommand,
    exit_status,
    explain,
    notify,
    notify_dropped,
    use_terminal,
)


def start(
    name: str,
    argv: list[str],
    options: dict[str, Any],
    *,
    standard_input: bool | None,
    wait: bool,
) -> int:
    """Start a detached command in a named machine, and return its id.

    :param options: see `execute`.
    :param standard_input: True to let clients that attach to the command write to its input. By
        default, they can do this if the command has a terminal.
    """
    use_terminal(options)
    if options.get("tty") if standard_input is None else standard_input:
        options["stdin"] = PIPE
    with connect(name, beginning=True) as connection:
        try:
            started = connection.ask("exec", argv=argv, options=options, wait=wait, detach=True)
        except Exception as error:
            explain(error, argv, options)
            raise
        number: int = started["id"]
        return number


def attach(name: str, number: int, *, standard_input: bool | None) -> int:
    """Connect our standard streams to a detached command until it exits. Return our exit status.

    :param standard_input: True to pass our standard input on. By default it is passed on if the
        command has input.
    """
    with connect(name, beginning=True) as connection:
        known = connection.ask("command", id=number)
    fed = known["input"] if standard_input is None else standard_input
    options = {"tty": known["tty"], **({"stdin": PIPE} if fed else {})}
    with connect(name, beginning=True) as connection:
        command = ForegroundCommand(connection, options)
        command.is_detached = True
        try:
            # A terminal would answer the queries in earlier output again, and the command would get
            # these answers as input. So show a terminal only new output, as docker does.
            recent = not command.uses_raw_mode()
            if not recent:
                notify(f"attached to {known['args'][0]}: Ctrl-P Ctrl-Q detaches")
            fields = {"call": "attach", "id": number, "input": fed, "recent": recent}
            return exit_status(command.converse(known["args"], **fields, follow=True))
        except Ended as ended:
            command.leave()
            return ended.status


def show(name: str, number: int, *, follow: bool) -> bool:
    """Write the recent output of a detached command to our standard output and standard error.

    With `follow`, continue until the command has exited. Return False if the program that reads our
    output closes its pipe earlier.
    """

    def on_event(event: str, value: Any) -> None:
        if event == "dropped":
            notify_dropped(value)

    with connect(name, beginning=True) as connection:
        # The supervisor expects three descriptors, but does not use the first one, the input.
        fields = {"id": number, "recent": True, "follow": follow}
        return "unread" not in connection.ask("attach", (1, 1, 2), on_event, **fields)


def wait(name: str, number: int) -> int:
    """Wait until a detached command exits, and return its exit status."""
    with connect(name, beginning=True) as connection:
        return exit_status(connection.ask("wait", id=number)["returncode"])


def send_signal(name: str, number: int, signal: int) -> None:
    """Send a signal to a detached command. Do nothing if it has exited.

    :param name: the whole name of the machine.
    """
    with connect(name) as connection:
        connection.ask("signal", id=number, signal=signal)

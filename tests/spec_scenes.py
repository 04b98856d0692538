"""Scenes that test the rules of `protocol/SPEC.md` for a guest, played by an independent client.

Each scene receives a host that has sent a hello, and leaves the guest idle. A scene needs only a
stream, so it can run with the daemon as a process and with a real guest.
"""

from __future__ import annotations

import fcntl
import re
import select
import termios
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

from tests.spec_client import (
    DIGEST,
    HEADER,
    LONGEST_FROM_GUEST,
    LONGEST_FROM_HOST,
    SPEC,
    VERSION,
    SpecFrame,
    SpecHost,
    decode,
    encode,
)

BODY_TOO_LONG, BUSY, UNKNOWN_ID, STALE_ID, OVER_CREDIT = 5, 64, 65, 66, 67
USER, CHDIR, LOOKUP, EXEC = 8, 4, 5, 6
ENOENT, ENOEXEC, EACCES = 2, 8, 13
SIGKILL, SIGTERM, SIGCONT, SIGSTOP, SIGUSR1 = 9, 15, 18, 19, 10

SCENES: list[Callable[[SpecHost], None]] = []


IN_GUEST: list[Callable[[SpecHost], None]] = []
"""The scenes whose result depends on the port of a machine, its cgroups, or its first process."""


def scene(play: Callable[[SpecHost], None]) -> Callable[[SpecHost], None]:
    SCENES.append(play)
    return play


def scene_in_guest(play: Callable[[SpecHost], None]) -> Callable[[SpecHost], None]:
    IN_GUEST.append(play)
    return scene(play)


def sh(script: str) -> tuple[bytes, ...]:
    return b"sh", b"-c", script.encode()


def error(id_: int, code: int, refused: int, offset: int = 0, number: int = 0) -> SpecFrame:
    fields = {"code": code, "refused_type": refused, "offset": offset, "field": number}
    return SpecFrame("error", id_, fields)


# Handshake


def hello(version: int, nonce: int) -> bytes:
    fields = {"version": version, "digest": DIGEST ^ 1, "max_body": 0, "nonce": nonce}
    return encode("hello", **fields)


def greet_at(host: SpecHost, version: int) -> SpecFrame:
    """Send a hello with an older version, which both sides use from then on."""
    host.send(hello(version, version))
    ready = host.find_ready(version)
    host.begin(max(version, 1))
    return ready


def wait_until_full(host: SpecHost) -> None:
    """Wait, without reading, until the number of bytes in the stream stops growing."""
    size = array("i", [0])
    held = -1
    while held < size[0]:
        held = size[0]
        time.sleep(0.02)
        fcntl.ioctl(host.stream, termios.FIONREAD, size)


@scene
def older_versions_are_used_and_max_body_is_ignored(host: SpecHost) -> None:
    for version in range(VERSION):
        ready = greet_at(host, version)
        assert (ready["version"], ready["digest"], ready["max_body"]) == (VERSION, DIGEST, 6299831)
        end = host.run(*sh("head -c 200000 /dev/zero"))
        assert (len(end.stdout), "memory" in end.end.fields) == (200_000, version >= 3)


@scene
def longest_body_depends_on_the_version(host: SpecHost) -> None:
    longest = LONGEST_FROM_HOST - HEADER.size
    before_4 = longest - 2
    for version, size in (
        (1, before_4 - 2 * (4 + 2097152)),
        (2, before_4),
        (3, before_4),
        (4, longest),
    ):
        greet_at(host, version)
        host.send(HEADER.pack(size + 1, 16, 0, 1))
        assert host.receive() == error(1, BODY_TOO_LONG, 16)
    host.greet()


@scene
def a_hello_ends_the_older_session(host: SpecHost) -> None:
    host.start(*sh("yes"))
    host.read_until(b"y")
    host.greet()
    assert host.sync() == []
    assert host.run(b"true").exit_code == 0
    assert host.id == 1


@scene_in_guest
def only_whole_frames_precede_ready(host: SpecHost) -> None:
    for _ in range(3):
        host.start(*sh("yes"), window=1 << 24)
        host.read_until(b"y")
        wait_until_full(host)
        host.send(hello(VERSION, 5))
        until = time.monotonic() + host.deadline
        name = ""
        while name != "ready":
            decoded = decode(bytes(host.data[:LONGEST_FROM_GUEST]), "guest")
            if decoded is None:
                host.wait(to_write=False, until=until)
            else:
                name = decoded[0].name
                del host.data[: decoded[1]]
        host.begin()


@scene
def several_hellos_in_sequence_are_answered(host: SpecHost) -> None:
    host.send(hello(1, 6) * 100)
    for _ in range(100):
        host.find_ready(6)
    host.greet()


@scene_in_guest
def hello_after_keep_closes_no_pipe_of_background_processes(host: SpecHost) -> None:
    folder = host.run(*sh("mktemp -d")).stdout.decode().strip()
    left = "(trap '' PIPE; read x <go; echo lost; echo $? >said) 2>/dev/null &"
    host.run(*sh(f"cd {folder}; mkfifo go said; {left}"))
    host.send(encode("keep"))
    host.greet()
    assert host.run(*sh(f"cd {folder}; echo >go; cat said; rm -r {folder}")).stdout == b"0\n"


@scene
def keep_is_refused_while_a_command_runs(host: SpecHost) -> None:
    refused: list[SpecFrame] = []
    host.start(b"cat", fed=True)
    host.send(encode("keep"))
    host.say("exec_stdin", data=b"")
    assert host.finish(refused.append).exit_code == 0
    assert refused == [error(0, BUSY, 11)]


# Ids and states


@scene
def long_lists_continue_in_the_second_field(host: SpecHost) -> None:
    host.start(*sh('echo $# "${17}" ${#16}'), b"sh", more_argv=[b"x" * 65536] * 16 + [b""])
    assert host.finish().stdout == b"17  65536\n"


@scene
def second_request_is_busy_and_uses_up_its_id(host: SpecHost) -> None:
    host.start(b"cat", fed=True)
    first = host.id
    refused: list[SpecFrame] = []
    host.send(encode("exec_request", first + 7))
    host.send(encode("exec_kill", first + 7))
    host.send(encode("exec_request", first + 6))
    host.send(encode("exec_kill", first + 8))
    host.say("exec_kill")
    assert host.finish(refused.append).signal == SIGKILL
    assert refused == [
        error(first + 7, BUSY, 16),
        error(first + 6, STALE_ID, 16),
        error(first + 8, UNKNOWN_ID, 21),
    ]
    host.id = first + 7
    host.say("exec_kill")
    assert host.sync() == []


@scene
def commands_run_beside_each_other_if_all_say_so(host: SpecHost) -> None:
    refused: list[SpecFrame] = []
    first = host.start(*sh("read x; echo first $x; cat; exit 1"), fed=True, beside=True)
    second = host.start(*sh("echo second; exec yes"), window=0, beside=True)
    host.pay(1, 9)
    host.read_until(b"second\ny\n")
    host.send(encode("exec_request", second + 1))
    host.send(encode("exec_credit", second + 1, stream=1, amount=1))
    host.id = first
    host.type(b"in\n")
    host.say("exec_stdin", data=b"")
    outcome = host.finish(refused.append)
    assert (outcome.stdout, outcome.exit_code) == (b"first in\n", 1)
    assert refused == [error(second + 1, BUSY, 16)]
    host.say("exec_kill")
    host.id = second
    host.say("exec_kill")
    outcome = host.finish()
    assert (outcome.stdout, outcome.signal) == (b"second\ny\n", SIGKILL)


@scene
def at_most_64_commands_run_at_once(host: SpecHost) -> None:
    refused: list[SpecFrame] = []
    ids = [host.start(b"cat", fed=True, beside=True) for _ in range(64)]
    host.send(encode("exec_request", 65, beside=True))
    for host.id in ids:
        host.say("exec_stdin", data=b"")
        assert host.finish(refused.append).exit_code == 0
    assert refused == [error(65, BUSY, 16)]


ABOUT: dict[str, dict[str, Any]] = {
    "exec_signal": {"signal": 0},
    "exec_kill": {},
    "exec_terminate": {},
    "exec_credit": {"stream": 1, "amount": 1},
    "exec_stdin": {"data": b"x"},
    "exec_resize": {"rows": 1, "columns": 1},
}
"""All messages of the host about a command."""


@scene
def frames_about_a_command_are_checked_by_their_id(host: SpecHost) -> None:
    refused: list[SpecFrame] = []
    host.run(b"true")
    for running in False, True:
        if running:
            host.start(*sh("cat; exit 9"), fed=True)
        for name, fields in ABOUT.items():
            host.send(encode(name, 1, **fields) if running else encode(name, host.id, **fields))
            host.send(encode(name, host.id + 1, **fields))
            (frame,) = (frame for frame in host.sync() if frame.name == "error")
            assert frame == error(host.id + 1, UNKNOWN_ID, SPEC.messages[name].number)
    host.say("exec_stdin", data=b"")
    outcome = host.finish(refused.append)
    assert (outcome.stdout, outcome.exit_code, refused) == (b"", 9, [])


@scene
def ping_and_status_are_answered_while_a_command_runs(host: SpecHost) -> None:
    before = host.ask("status_request")
    host.start(*sh("cat; exit 3"), fed=True)
    host.ask("ping", 0xFFFFFFFFFFFFFFFF)
    host.say("exec_stdin", data=b"")
    assert host.finish().exit_code == 3
    after = host.ask("status_request")
    assert after["execs"] == before["execs"] + 1
    assert after["frames_seen"] >= before["frames_seen"] + 3


@scene_in_guest
def no_frame_is_lost_if_the_host_only_writes(host: SpecHost) -> None:
    while select.select([], [host.stream], [], 0)[1]:
        host.stream.sendall(encode("ping", token=len(host.asked)))
        host.asked.append(len(host.asked))
    for token in list(host.asked):
        assert host.receive()["token"] == token


# Running a command


@scene
def arguments_environment_and_folder(host: SpecHost) -> None:
    script = 'printf "%s|" "$0" "$@" "$A" "$TERM" "$LOGNAME"; pwd'
    outcome = host.run(b"sh", b"-c", script.encode(), b"x", b"", b"\xff", env=[b"A=1=2"], cwd=b"/")
    assert outcome.stdout == b"x||\xff|1=2|dumb|root|/\n"


@scene_in_guest
def no_signal_is_blocked_or_ignored(host: SpecHost) -> None:
    masks = host.run(b"grep", b"-E", b"Sig(Blk|Ign)", b"/proc/self/status").stdout.split()[1::2]
    assert [int(mask, 16) for mask in masks] == [0, 0]


@scene
def environment_has_entries_in_order_before_defaults(host: SpecHost) -> None:
    env = [b"B=1", b"HOME", b"PATH=/bin:/usr/bin", b"B=2", b"PATH=/nowhere", b"=x", b""]
    seen = host.run(b"cat", b"/proc/self/environ", env=env).stdout.split(b"\0")[:-1]
    assert seen[: len(env)] == env
    defaults = [b"HOME=/root", b"USER=root", b"LOGNAME=root", b"SHELL=/bin/sh", b"TERM=dumb"]
    assert sorted(seen[len(env) :]) == sorted(defaults)


@scene
def first_path_entry_is_used_and_may_be_relative(host: SpecHost) -> None:
    twice = [b"PATH=/nowhere", b"PATH=/bin:/usr/bin"]
    assert host.run(b"true", env=twice).failure == (LOOKUP, ENOENT)
    assert host.run(b"true", env=twice[::-1]).exit_code == 0
    assert host.run(b"true", env=[b"PATH"]).exit_code == 0
    assert host.run(b"true", env=[b"PATH=bin"], cwd=b"/").exit_code == 0
    assert host.run(b"true", env=[b"PATH="], cwd=b"/bin").exit_code == 0
    assert host.run(b"true", env=[b"PATH="], cwd=b"/").failure == (LOOKUP, ENOENT)
    long = b"PATH=" + b"/x" * 2046
    assert host.run(b"true", env=[long]).failure == (LOOKUP, ENOENT)
    assert host.run(b"true", env=[long + b":/bin:/usr/bin"]).exit_code == 0


@scene
def search_skips_files_that_cannot_be_executed(host: SpecHost) -> None:
    made = "d=$(mktemp -d); mkdir -p $d/one/tool $d/two; echo : >$d/two/tool; chmod +x $d/two/tool"
    folder = host.run(*sh(f"{made}; printf $d")).stdout
    one, two, end = folder + b"/one", folder + b"/two", b"/bin:/usr/bin"
    assert host.run(b"tool", env=[b"PATH=" + one]).failure == (EXEC, EACCES)
    assert host.run(b"tool", env=[b"PATH=" + one + b":" + end]).failure == (EXEC, EACCES)
    assert host.run(b"true", env=[b"PATH=" + one + b":" + end]).exit_code == 0
    assert host.run(b"tool", env=[b"PATH=" + two + b":" + one]).failure == (EXEC, ENOEXEC)
    assert host.run(one + b"/nothing").failure == (EXEC, ENOENT)
    assert host.run(b"rm", b"-r", folder).exit_code == 0


@scene
def first_failing_step_is_reported(host: SpecHost) -> None:
    nobody, nowhere = b"no such user", b"/no/such/folder"
    assert host.run(b"no such command", user=nobody, cwd=nowhere).failure == (USER, ENOENT)
    for user in b"4294967295", b":0", b"root:", b":":
        assert host.run(b"true", user=user).failure == (USER, ENOENT)
    assert host.run(b"no such command", cwd=nowhere).failure == (CHDIR, ENOENT)
    assert host.run(b"no such command").failure == (LOOKUP, ENOENT)
    assert host.run(command=b"").failure == (LOOKUP, ENOENT)


@scene_in_guest
def limits_are_applied_if_the_command_has_a_cgroup(host: SpecHost) -> None:
    groups = host.run(b"cat", b"/proc/self/cgroup").stdout
    limited = re.search(rb"^0::/\d+$", groups, re.MULTILINE) is not None
    alone = host.run(*sh("true & wait; exit 5"), max_processes=1)
    assert (alone.exit_code != 5) == limited
    greet_at(host, 1)
    host.start(b"dd", b"if=/dev/zero", b"of=/dev/null", b"bs=60M", b"count=1", max_memory=20 << 20)
    end = host.finish().end
    assert (end["ending"], end["status"]) == ((1, SIGKILL) if limited else (0, 0))
    host.greet()


# Output


@scene
def output_waits_for_credit_and_the_end_for_the_output(host: SpecHost) -> None:
    host.start(*sh("printf 12345; printf 678 >&2; exit 4"), window=0)
    assert host.sync() == []
    host.pay(1, 0)
    assert host.sync() == []
    host.pay(2, 3)
    host.pay(1, 4)
    host.read_until(b"1234")
    host.read_until(b"678", 2)
    assert host.sync() == []
    host.pay(1, 1)
    outcome = host.finish()
    assert (outcome.stdout, outcome.stderr, outcome.exit_code) == (b"12345", b"678", 4)


@scene
def credit_above_the_maximum_is_dropped_without_overflow(host: SpecHost) -> None:
    host.start(*sh("head -c 300000 /dev/zero"), window=0)
    for _ in range(3):
        host.pay(1, 0xFFFFFFFF)
    assert len(host.finish().stdout) == 300_000


# Standard input


@scene
def cat_returns_its_input(host: SpecHost) -> None:
    data = bytes(range(256)) * 5000
    assert host.run(b"cat", stdin=data).stdout == data
    assert host.run(b"cat", stdin=b"").stdout == b""


@scene
def input_above_the_credit_is_refused_and_takes_no_credit(host: SpecHost) -> None:
    refused: list[SpecFrame] = []
    wait = "trap 'cat | wc -c; exit' USR1; echo up; while :; do sleep 0.05; done"
    host.start(*sh(wait), fed=True)
    host.read_until(b"up\n")
    sent = 0
    while host.sync() or host.stdin_credit >= 65536:
        sent += (size := min(host.stdin_credit, 65536))
        host.type(bytes(size))
    left = host.stdin_credit
    host.say("exec_stdin", data=bytes(left + 1))
    host.type(bytes(left))
    host.say("exec_stdin", data=b"")
    host.say("exec_signal", signal=SIGUSR1)
    outcome = host.finish(refused.append)
    assert int(outcome.stdout.split()[1]) == sent + left
    assert refused == [error(host.id, OVER_CREDIT, 23)]


@scene
def input_after_its_end_is_dropped(host: SpecHost) -> None:
    host.start(*sh("cat; sleep 0.2; cat; exit 6"), fed=True)
    host.type(b"once")
    for data in b"", b"twice", b"":
        host.say("exec_stdin", data=data)
    outcome = host.finish()
    assert (outcome.stdout, outcome.exit_code) == (b"once", 6)


@scene
def input_after_its_end_takes_credit(host: SpecHost) -> None:
    host.start(b"sleep", b"300", fed=True)
    while not host.stdin_credit:
        host.take(host.receive())
    host.say("exec_stdin", data=b"")
    for _ in range(host.stdin_credit // 65536 + 2):
        host.say("exec_stdin", data=bytes(65536))
    assert host.sync() == [error(host.id, OVER_CREDIT, 23)] * 2
    host.say("exec_kill")
    assert host.finish().signal == SIGKILL


@scene
def input_is_refused_for_a_command_without_input(host: SpecHost) -> None:
    refused: list[SpecFrame] = []
    host.start(*sh("trap 'cat; exit 7' USR1; echo up; while :; do sleep 0.05; done"))
    host.read_until(b"up\n")
    host.say("exec_stdin", data=b"")
    host.say("exec_stdin", data=b"x")
    host.say("exec_signal", signal=SIGUSR1)
    assert host.finish(refused.append).exit_code == 7
    assert refused == [error(host.id, OVER_CREDIT, 23)]


@scene
def a_command_can_close_its_input(host: SpecHost) -> None:
    outcome = host.run(*sh("exec <&-; sleep 0.1; echo on"), stdin=bytes(1_000_000))
    assert (outcome.stdout, outcome.exit_code) == (b"on\n", 0)


# Terminals


@scene_in_guest
def a_terminal_has_a_size_and_changes_it(host: SpecHost) -> None:
    host.start(*sh("stty size; read x; stty size"), terminal=(3, 7))
    host.read_until(b"3 7\r\n")
    host.say("exec_resize", rows=50, columns=132)
    host.type(b"\n")
    outcome = host.finish()
    assert outcome.stdout == b"3 7\r\n\r\n50 132\r\n"
    assert outcome.stderr == b""


@scene
def without_a_terminal_a_resize_is_ignored(host: SpecHost) -> None:
    host.start(*sh("cat; exit 5"), stdin=b"")
    host.say("exec_resize", rows=1, columns=1)
    assert host.finish().exit_code == 5


@scene
def end_of_input_reaches_the_terminal_as_a_character(host: SpecHost) -> None:
    host.start(b"cat", terminal=(5, 5))
    host.type(b"half a line")
    host.say("exec_stdin", data=b"")
    assert host.finish().stdout.endswith(b"half a line")
    host.start(*sh("stty raw -echo; echo ready; head -c 2 | od -An -tx1"), terminal=(5, 5))
    host.read_until(b"ready")
    host.say("exec_stdin", data=b"")
    assert host.finish().stdout.split() == [b"ready", b"04", b"04"]


# Signals and the end


@scene
def signals_can_be_caught_and_invalid_ones_are_ignored(host: SpecHost) -> None:
    host.start(*sh("trap 'echo caught; exit 5' USR1; echo up; while :; do sleep 0.05; done"))
    host.read_until(b"up\n")
    for number in 0, 65, 128, 255, SIGUSR1:
        host.say("exec_signal", signal=number)
    outcome = host.finish()
    assert (outcome.stdout, outcome.exit_code) == (b"up\ncaught\n", 5)


@scene
def terminate_sends_sigterm_first(host: SpecHost) -> None:
    host.start(*sh("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"))
    host.read_until(b"up\n")
    host.say("exec_terminate")
    outcome = host.finish()
    assert (outcome.stdout, outcome.exit_code) == (b"up\nbye\n", 3)


@scene
def terminate_waits_for_a_stopped_command(host: SpecHost) -> None:
    stopped = "until grep -q 'T (stopped)' /proc/$$/status; do sleep 0.05; done; echo stopped"
    host.start(*sh(f"({stopped}) & kill -STOP $$"))
    host.read_until(b"stopped\n")
    host.say("exec_terminate")
    assert host.sync() == []
    host.say("exec_signal", signal=SIGCONT)
    assert host.finish().signal == SIGTERM


@scene
def kill_ends_a_stopped_command(host: SpecHost) -> None:
    host.start(*sh("echo up; kill -STOP $$"))
    host.read_until(b"up\n")
    host.say("exec_kill")
    assert host.finish().signal == SIGKILL


@scene_in_guest
def kill_needs_no_credit(host: SpecHost) -> None:
    host.start(*sh("yes"), window=0)
    host.pay(1, 10)
    host.read_until(b"y\ny\ny\ny\ny\n")
    host.say("exec_kill")
    assert host.finish().signal == SIGKILL


@scene_in_guest
def background_processes_do_not_delay_the_end(host: SpecHost) -> None:
    left = int(host.run(*sh("sleep 300 & echo $!")).stdout)
    assert host.run(*sh(f"kill -0 {left} && kill -9 {left}")).exit_code == 0


# Errors and recovery


@scene
def a_malformed_frame_is_answered_and_the_command_goes_on(host: SpecHost) -> None:
    refused: list[SpecFrame] = []
    host.start(*sh("echo up; sleep 0.3; echo on; exit 8"))
    host.read_until(b"up\n")
    host.send(HEADER.pack(8, 4, 1, 77) + bytes(8))
    host.send(encode("exec_kill", host.id))
    outcome = host.finish(refused.append)
    assert (outcome.stdout, outcome.exit_code) == (b"up\non\n", 8)
    while not refused:
        refused.append(host.receive())
    assert refused == [error(77, 3, 4, offset=6)]
    host.greet()


@scene
def a_hello_inside_a_malformed_frame_is_found(host: SpecHost) -> None:
    frame = bytearray(encode("exec_stdin", 1, data=b"..." + hello(1, 99)))
    frame[6] = 1  # flags
    host.send(bytes(frame))
    assert host.find_ready(99)
    host.greet()


def halves() -> Iterator[bytes]:
    """Return the beginnings of several kinds of frames, cut at many places."""
    request = encode(
        "exec_request",
        1,
        command=b"sh",
        cwd=b"/",
        argv=sh("sleep 300"),
        env=[b"A=1", b"B=2"],
        stdout_credit=1 << 20,
        stderr_credit=1 << 20,
        user=b"nobody",
        stdin_from=1,
        rows=24,
        columns=80,
        max_processes=10,
        max_memory=1 << 30,
        more_argv=[b"x"],
        beside=True,
    )
    # Cut in the header, in a string, after a string, in the numbers, and in the lists at the end.
    for cut in 1, 8, 11, 14, 18, 60, -44, -34, -15, -2, -1:
        yield request[:cut]
    for cut in 3, 15, 30, 43:
        yield hello(1, 98)[:cut]
    yield encode("exec_stdin", 1, data=bytes(60_000))[:100]
    yield encode("exec_credit", 1, stream=1, amount=7)[:-1]
    yield HEADER.pack(6299831, 16, 0, 1)
    yield HEADER.pack(6299831, 16, 0, 1) + bytes(1_000_000)


@scene_in_guest
def filler_completes_a_frame_before_a_hello(host: SpecHost) -> None:
    for half in halves():
        host.send(half)
        host.greet(fill=True)
        assert host.sync() == []
    assert host.run(b"true").exit_code == 0


@scene_in_guest
def next_host_finds_ready_after_an_incomplete_answer(host: SpecHost) -> None:
    host.start(*sh("yes"), window=1 << 22)
    host.read_until(b"y")
    while len(host.data) < 1000:
        host.wait(to_write=False, until=time.monotonic() + host.deadline)
    successor = SpecHost(host.stream, deadline=host.deadline)
    successor.data = host.data[500:]
    successor.greet(fill=True)
    assert successor.sync() == []
    host.data.clear()
    host.greet()

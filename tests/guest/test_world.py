"""Tests of the environment of a command: arguments, variables, folder, descriptors, signals."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.support.daemon import Daemon, request

from microvm.wire import codec

DEFAULTS = {
    b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    b"HOME=/root",
    b"USER=root",
    b"LOGNAME=root",
    b"SHELL=/bin/sh",
    b"TERM=dumb",
}
MAX_TOTAL = 1048576


def seen_argv(daemon: Daemon, argv: Sequence[bytes]) -> list[bytes]:
    """Return the arguments that a program receives, after the first three of a shell script."""
    own = (b"-c", b"cat /proc/$$/cmdline; :", b"name")
    result = daemon.run(b"zero", *own, *argv, command=b"sh")
    assert result.exit_code == 0
    assert result.stdout.startswith(b"\0".join((b"zero", *own, b"")))
    return result.stdout.split(b"\0")[4:-1]


def seen_env(daemon: Daemon, env: Sequence[bytes]) -> list[bytes]:
    result = daemon.run(b"cat", b"/proc/self/environ", env=env)
    assert result.exit_code == 0
    return result.stdout.split(b"\0")[:-1]


def filled(own: int = 0) -> list[bytes]:
    """Return items that fill a list to its last byte, beside `own` bytes of other items."""
    items = [b"x" * 131071] * 7
    return [*items, b"y" * (MAX_TOTAL - own - 4 - sum(4 + len(item) for item in items))]


class TestArguments:
    """Tests of the arguments of a command."""

    @pytest.mark.parametrize(
        "argv",
        [
            [],
            [b""],
            [b"", b"", b""],
            [b"a", b"", b"b"],
            [b"with space", b"tab\t", b"newline\n", b"$HOME", b"*", b'"', b"\\"],
            [bytes(range(1, 256))],
            [b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80"],
            [b"=" * 131071],
        ],
        ids=lambda argv: str(len(argv)) + "-" + (argv or [b""])[0][:4].hex(),
    )
    def test_arguments_arrive_unchanged(self, sandboxd: Daemon, argv: list[bytes]) -> None:
        assert seen_argv(sandboxd, argv) == argv

    def test_as_many_as_the_protocol_carries(self, sandboxd: Daemon) -> None:
        argv = [b"%d" % number for number in range(16384 - 4)]
        assert seen_argv(sandboxd, argv) == argv

    def test_as_long_as_the_protocol_carries(self, sandboxd: Daemon) -> None:
        own = sum(4 + len(a) for a in (b"zero", b"-c", b"cat /proc/$$/cmdline; :", b"name"))
        argv = filled(own)
        assert seen_argv(sandboxd, argv) == argv

    @pytest.mark.parametrize("more", [[b""], [b"one", b"", b"two"], [b"x" * 131071] * 3])
    def test_arguments_in_several_frames_arrive_in_order(
        self, sandboxd: Daemon, more: list[bytes]
    ) -> None:
        shown = sandboxd.run_sh("cat /proc/$$/cmdline; :", more_argv=more, more_env=[b"A=last"])
        assert shown.stdout.split(b"\0")[3:-1] == more

    def test_last_variable_ends_at_the_end_of_its_frame(self, sandboxd: Daemon) -> None:
        frame = request(1, b"env", more_env=(b"PATH=/bin:/usr/bin", b"LAST=x")).encode()
        sandboxd.send(frame + codec.Ping(7).encode())
        before, pong = sandboxd.receive_until(codec.Pong)
        assert pong == codec.Pong(7)
        seen = b"".join(m.data for m in before if isinstance(m, codec.ExecOutput))
        if not any(isinstance(message, codec.ExecResponse) for message in before):
            seen += sandboxd.finish(1).stdout
        assert b"LAST=x" in seen.splitlines()

    def test_arguments_arrive_with_any_split_into_frames(self, sandboxd: Daemon) -> None:
        script = b'printf "%s|" "$0" "$@"'
        for id_ in range(1, 40):
            argv = (b"sh", b"-c", script, b"zero", b"one", b"", b"three")
            frame = request(id_, *argv, more_env=(b"A=b",)).encode()
            size = id_ * 3
            sandboxd.send_each(*(frame[at : at + size] for at in range(0, len(frame), size)))
            assert sandboxd.finish(id_).stdout == b"zero|one||three|"


class TestEnvironment:
    """Tests of the environment of a command."""

    def test_environment_has_only_the_defaults(self, launch: Callable[..., Daemon]) -> None:
        daemon = launch(env={"SECRET": "x", "HOME": "/elsewhere", "PATH": "/nowhere"})
        daemon.hello()
        seen = seen_env(daemon, [])
        assert len(seen) == len(DEFAULTS)
        assert set(seen) == DEFAULTS

    @pytest.mark.parametrize("default", sorted(DEFAULTS))
    def test_each_default_can_be_overridden(self, sandboxd: Daemon, default: bytes) -> None:
        own = default.partition(b"=")[0] + b"=/bin:/usr/bin"
        seen = seen_env(sandboxd, [own])
        assert len(seen) == len(DEFAULTS)
        assert set(seen) == DEFAULTS - {default} | {own}

    def test_as_many_as_the_protocol_carries(self, sandboxd: Daemon) -> None:
        env = [b"V%d=" % number for number in range(16384)]
        assert set(seen_env(sandboxd, env)) == DEFAULTS | set(env)

    def test_nothing_of_an_earlier_request_is_left(self, sandboxd: Daemon) -> None:
        seen_env(sandboxd, [b"V%d=" % number for number in range(1000)])
        assert set(seen_env(sandboxd, [])) == DEFAULTS


class TestFolder:
    """Tests of the working folder of a command."""

    def test_working_folder_is_the_home_of_root_by_default(self, sandboxd: Daemon) -> None:
        expected = "/root" if os.access("/root", os.X_OK) else "/"
        assert sandboxd.run(b"/bin/pwd").stdout.decode() == f"{expected}\n"

    def test_working_folder_is_that_of_the_request(self, sandboxd: Daemon, tmp_path: Path) -> None:
        folder = tmp_path / os.fsdecode(b"with space \xff")
        folder.mkdir()
        assert sandboxd.run(b"/bin/pwd", cwd=bytes(folder)).stdout == bytes(folder) + b"\n"

    def test_folder_of_a_command_does_not_affect_the_next(
        self, sandboxd: Daemon, tmp_path: Path
    ) -> None:
        first = sandboxd.run(b"/bin/pwd").stdout
        sandboxd.run(b"true", cwd=bytes(tmp_path))
        assert sandboxd.run(b"/bin/pwd").stdout == first


class TestProcess:
    """Tests of the other attributes of a command, which it inherits or must not inherit."""

    def test_input_is_empty(self, sandboxd: Daemon) -> None:
        assert sandboxd.run(b"readlink", b"/proc/self/fd/0").stdout == b"/dev/null\n"
        assert sandboxd.run(b"cat").stdout == b""

    def test_command_has_three_descriptors(self, sandboxd: Daemon) -> None:
        """A background process of an earlier command changes nothing."""
        for fed in False, True:
            result = sandboxd.run_sh("ls /proc/$$/fd; :", fed=fed)
            assert result.stdout == b"0\n1\n2\n"
        left = int(sandboxd.run_sh("sleep 60 & echo $!").stdout)
        assert sandboxd.run_sh("ls /proc/$$/fd; :").stdout == b"0\n1\n2\n"
        os.kill(left, 9)

    def test_descriptors_of_the_daemon_are_not_inherited(
        self, launch: Callable[..., Daemon]
    ) -> None:
        daemon = launch(prefix=["sh", "-c", 'exec 5</dev/null "$0" "$@"'])
        daemon.hello()
        assert daemon.run_sh("ls /proc/$$/fd; :").stdout == b"0\n1\n2\n"

    def test_limit_of_open_files_is_that_of_the_daemon_at_its_start(
        self, launch: Callable[..., Daemon]
    ) -> None:
        daemon = launch(prefix=["sh", "-c", 'ulimit -Sn 1000; ulimit -Hn 2000; exec "$0" "$@"'])
        daemon.hello()
        assert daemon.run_sh("ulimit -Sn; ulimit -Hn").stdout == b"1000\n2000\n"

    def test_streams_work_if_the_daemon_has_none(self, launch: Callable[..., Daemon]) -> None:
        daemon = launch(prefix=["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-'])
        daemon.hello()
        for _ in range(3):
            result = daemon.run_sh("echo out; echo err >&2; cat; ls /proc/$$/fd")
            assert (result.stdout, result.stderr) == (b"out\n0\n1\n2\n", b"err\n")

    def test_pipes_of_the_command_block(self, sandboxd: Daemon) -> None:
        status = sandboxd.run(b"cat", b"/proc/self/fdinfo/1", b"/proc/self/fdinfo/2").stdout
        flags = [int(line.split()[1], 8) for line in status.splitlines() if b"flags" in line]
        assert [flag & (os.O_NONBLOCK | os.O_ACCMODE) for flag in flags] == [os.O_WRONLY] * 2

    def test_signals_have_their_default_actions(self, sandboxd: Daemon) -> None:
        lines = sandboxd.run(b"cat", b"/proc/self/status").stdout.decode().splitlines()
        masks = {key: int(value, 16) for key, _, value in (x.partition(":") for x in lines)
                 if key in ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")}  # fmt: skip
        assert set(masks.values()) == {0}
        assert len(masks) == 5

    @pytest.mark.thorough
    def test_command_leads_its_session_and_group(self, sandboxd: Daemon) -> None:
        stat = sandboxd.run(b"cat", b"/proc/self/stat").stdout.split()
        assert stat[0] == stat[4] == stat[5]

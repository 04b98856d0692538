"""Tests of the user of a command, and of limits and kills without cgroups."""

from __future__ import annotations

import errno
import grp
import os
import pwd
from pathlib import Path

import pytest
from tests.support.daemon import Daemon
from tests.support.polling import eventually
from tests.support.processes import is_alive

from microvm.wire import codec
from microvm.wire.codec import Stage

NOBODY = pwd.getpwnam("nobody")
GROUP = grp.getgrgid(NOBODY.pw_gid).gr_name.encode()
UNKNOWN = 1234
MISSING = 5678

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


def seen_ids(daemon: Daemon, user: bytes) -> tuple[list[int], list[int], list[int]]:
    """Return the user ids, group ids and supplementary groups of a command, from /proc."""
    result = daemon.run(b"cat", b"/proc/self/status", user=user)
    assert result.exit_code == 0, result
    lines = dict(line.split(b":", 1) for line in result.stdout.splitlines())
    uids, gids, groups = (list(map(int, lines[key].split())) for key in (b"Uid", b"Gid", b"Groups"))
    return uids, gids, groups


def seen_env(daemon: Daemon, user: bytes, *env: bytes) -> dict[bytes, bytes]:
    result = daemon.run(b"cat", b"/proc/self/environ", user=user, env=env)
    assert result.exit_code == 0, result
    entries = result.stdout.split(b"\0")[:-1]
    assert len({entry.partition(b"=")[0] for entry in entries}) == len(entries)
    return {key: value for key, _, value in (entry.partition(b"=") for entry in entries)}


@as_root
class TestIds:
    @pytest.mark.parametrize(
        ("user", "uid", "gid"),
        [
            (b"nobody", NOBODY.pw_uid, NOBODY.pw_gid),
            (b"%d" % NOBODY.pw_uid, NOBODY.pw_uid, NOBODY.pw_gid),
            (b"%d" % UNKNOWN, UNKNOWN, UNKNOWN),
            (b"%d:%d" % (UNKNOWN, MISSING), UNKNOWN, MISSING),
            (b"nobody:%d" % MISSING, NOBODY.pw_uid, MISSING),
            (b"%d:" % UNKNOWN + GROUP, UNKNOWN, NOBODY.pw_gid),
            (b"nobody:" + GROUP, NOBODY.pw_uid, NOBODY.pw_gid),
            (b"4294967294", 2**32 - 2, 2**32 - 2),
            (b"root", 0, 0),
            (b"0", 0, 0),
            (b"0:%d" % MISSING, 0, MISSING),
        ],
        ids=str,
    )
    def test_user_and_group(self, sandboxd: Daemon, user: bytes, uid: int, gid: int) -> None:
        uids, gids, groups = seen_ids(sandboxd, user)
        assert uids == [uid] * 4
        assert gids == [gid] * 4
        assert gid in groups

    def test_the_daemons_own_by_default(self, sandboxd: Daemon) -> None:
        assert seen_ids(sandboxd, b"")[0] == [os.getuid()] * 4

    def test_an_explicit_group_is_the_only_one(self, sandboxd: Daemon) -> None:
        assert seen_ids(sandboxd, b"root:%d" % MISSING)[2] == [MISSING]

    def test_the_groups_are_those_that_su_would_set(self, sandboxd: Daemon) -> None:
        for entry in pwd.getpwall():
            expected = set(os.getgrouplist(entry.pw_name, entry.pw_gid))
            groups = seen_ids(sandboxd, entry.pw_name.encode())[2]
            assert set(groups) == expected, entry.pw_name
            assert len(groups) == len(expected)

    def test_the_next_command_is_root_again(self, sandboxd: Daemon) -> None:
        seen_ids(sandboxd, b"nobody")
        assert seen_ids(sandboxd, b"")[0] == [0] * 4

    def test_command_cannot_become_root_again(self, sandboxd: Daemon) -> None:
        result = sandboxd.run(b"cat", b"/proc/self/status", user=b"nobody")
        capabilities = result.stdout.partition(b"CapEff:")[2].split()[0]
        assert int(capabilities, 16) == 0


@as_root
class TestUnknown:
    @pytest.mark.parametrize(
        "user",
        [
            b"nosuchuser",
            b"nobody:nosuchgroup",
            b"%d:nosuchgroup" % UNKNOWN,
            b":",
            b":0",
            b"nobody:",
            b"4294967295",
            b"4294967296",
            b"18446744073709551616",
            b"-1",
            b"+1",
            b" 1",
            b"0x10",
            b"nobod",
            b"nobodyy",
            b"NOBODY",
            b"nobody:0:0",
            b"\xff\xfe",
            b"u" * 128,
            b"1" * 128,
        ],
    )
    def test_unknown_user_is_a_start_failure(self, sandboxd: Daemon, user: bytes) -> None:
        assert sandboxd.run(b"true", user=user).failure == (Stage.USER, errno.ENOENT)


@as_root
class TestEnvironmentOfUser:
    """Tests of the variables that depend on the user's entry."""

    def test_environment_is_that_of_the_user(self, sandboxd: Daemon) -> None:
        env = seen_env(sandboxd, b"nobody")
        assert env[b"HOME"] == NOBODY.pw_dir.encode()
        assert env[b"USER"] == env[b"LOGNAME"] == b"nobody"
        assert env[b"SHELL"] == NOBODY.pw_shell.encode()
        assert set(env) == {b"PATH", b"HOME", b"USER", b"LOGNAME", b"SHELL", b"TERM"}

    def test_user_number_also_sets_the_name(self, sandboxd: Daemon) -> None:
        assert seen_env(sandboxd, b"%d" % NOBODY.pw_uid)[b"USER"] == b"nobody"

    def test_a_number_without_an_entry(self, sandboxd: Daemon) -> None:
        env = seen_env(sandboxd, b"%d:%d" % (UNKNOWN, MISSING))
        assert env[b"HOME"] == b"/"
        assert env[b"USER"] == env[b"LOGNAME"] == b"%d" % UNKNOWN
        assert env[b"SHELL"] == b"/bin/sh"

    def test_variables_of_the_request_have_precedence(self, sandboxd: Daemon) -> None:
        own = {b"HOME": b"/own", b"USER": b"me", b"LOGNAME": b"", b"SHELL": b"/own/sh"}
        entries = [key + b"=" + value for key, value in own.items()]
        assert seen_env(sandboxd, b"nobody", *entries).items() >= own.items()

    def test_variable_with_a_similar_name_is_not_replaced(self, sandboxd: Daemon) -> None:
        env = seen_env(sandboxd, b"nobody", b"HOMER=x", b"USER_=y")
        assert (env[b"HOMER"], env[b"USER_"], env[b"USER"]) == (b"x", b"y", b"nobody")

    def test_root_has_the_default_environment(self, sandboxd: Daemon) -> None:
        named = seen_env(sandboxd, b"root")
        assert named.pop(b"SHELL") == pwd.getpwuid(0).pw_shell.encode()
        plain = seen_env(sandboxd, b"")
        assert plain.pop(b"SHELL") == b"/bin/sh"
        assert named == plain

    def test_working_folder_is_the_home_of_the_user(self, sandboxd: Daemon) -> None:
        bin_ = pwd.getpwnam("bin")
        home = os.path.realpath(bin_.pw_dir).encode()
        assert sandboxd.run(b"pwd", b"-P", user=b"bin").stdout.strip() == home

    def test_working_folder_is_the_root_without_a_home(self, sandboxd: Daemon) -> None:
        assert not Path(NOBODY.pw_dir).exists()
        assert sandboxd.run(b"pwd", user=b"nobody").stdout == b"/\n"


@as_root
class TestRights:
    """Tests of the permissions of the command."""

    def test_a_forbidden_folder(self, sandboxd: Daemon, tmp_path: Path) -> None:
        folder = tmp_path / "forbidden"
        folder.mkdir(mode=0o700)
        result = sandboxd.run(b"true", cwd=bytes(folder), user=b"nobody")
        assert result.failure == (Stage.CHDIR, errno.EACCES)
        assert sandboxd.run(b"true", cwd=bytes(folder)).exit_code == 0

    def test_a_forbidden_command(self, sandboxd: Daemon) -> None:
        path = Path("/tmp") / f"microvm-test-{os.getpid()}"
        path.write_text("#!/bin/sh\n")
        path.chmod(0o700)
        try:
            result = sandboxd.run(bytes(path), user=b"nobody")
        finally:
            path.unlink()
        assert result.failure == (Stage.EXEC, errno.EACCES)

    @pytest.mark.parametrize("size", [(0, 0), (24, 80)], ids=["pipes", "terminal"])
    @pytest.mark.parametrize("fed", [False, True], ids=["null", "fed"])
    def test_streams_can_be_opened_by_name(
        self, sandboxd: Daemon, size: tuple[int, int], fed: bool
    ) -> None:
        # The targets of /dev/stdin, /dev/stdout and /dev/stderr.
        fd = "/proc/self/fd"
        script = f"echo out >{fd}/1; echo err >{fd}/2; : <{fd}/0; echo end"
        result = sandboxd.run_sh(script, user=b"nobody", size=size, fed=fed)
        assert result.exit_code == 0
        said = (result.stdout + result.stderr).split()
        assert sorted(said) == [b"end", b"err", b"out"]

    def test_null_device_keeps_its_owner(self, sandboxd: Daemon) -> None:
        before = Path("/dev/null").stat()
        for size in ((0, 0), (24, 80)):
            for fed in (False, True):
                user = b"%d:%d" % (UNKNOWN, MISSING)
                assert sandboxd.run(b"true", user=user, size=size, fed=fed).exit_code == 0
        assert Path("/dev/null").stat()[:6] == before[:6]  # with its mode and its owner


class TestWithoutCgroups:
    """Tests of a daemon that is an ordinary process, and creates no cgroups."""

    def test_a_kill_reaches_the_process_group(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.sh("trap '' TERM; sleep 1000 & sleep 1000 & echo $! $$; wait")
        pids = [int(pid) for pid in sandboxd.read_line().split()]
        sandboxd.kill(id_)
        for pid in pids:
            eventually(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]

    def test_process_outside_the_group_survives_a_kill(self, sandboxd: Daemon) -> None:
        id_ = sandboxd.sh("setsid sh -c 'echo $$; exec sleep 1000' & wait")
        pid = int(sandboxd.read_line())
        sandboxd.send(codec.ExecKill(id_))
        sandboxd.finish(id_)
        assert is_alive(pid)
        os.kill(pid, 9)

    def test_limits_are_ignored_without_a_failure(self, sandboxd: Daemon) -> None:
        result = sandboxd.run_sh("true | cat | cat; echo end", limits=(1, 4096))
        assert (result.exit_code, result.stdout) == (0, b"end\n")

    def test_command_stays_in_the_cgroup_of_the_daemon(self, sandboxd: Daemon) -> None:
        own = Path(f"/proc/{sandboxd.pid}/cgroup").read_bytes()
        assert sandboxd.run(b"cat", b"/proc/self/cgroup").stdout == own

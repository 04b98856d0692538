"""Tests of commands that cannot be started, and of the reported reasons."""

from __future__ import annotations

import errno
import os
import platform
import resource
import signal
import struct
import threading
import time
import timeit
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.daemon import Daemon, request
from tests.support.polling import eventually
from tests.support.processes import children, open_files

from microvm.wire import codec
from microvm.wire.codec import Stage

pytestmark = pytest.mark.thorough


def script(path: Path, content: str = "#!/bin/sh\necho ran $0\n", mode: int = 0o755) -> bytes:
    path.write_text(content)
    path.chmod(mode)
    return bytes(path)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("missing", errno.ENOENT),
        ("file", errno.ENOTDIR),
        ("loop", errno.ELOOP),
        ("/" + "x" * 4095, errno.ENAMETOOLONG),
    ],
    ids=["missing", "file", "loop", "long"],
)
def test_working_folder_that_cannot_be_entered(
    sandboxd: Daemon, tmp_path: Path, name: str, number: int
) -> None:
    script(tmp_path / "file")
    (tmp_path / "loop").symlink_to("loop")
    assert sandboxd.run(b"true", cwd=bytes(tmp_path / name)).failure == (Stage.CHDIR, number)


@pytest.fixture
def slow_path(tmp_path: Path) -> bytes:
    """The variable PATH with so many folders that a search takes 6 seconds of CPU time."""
    (tmp_path / "dot").symlink_to("./" * 2000)
    (tmp_path / "slow").symlink_to("dot/" * 38)  # the kernel follows at most 40 links
    lookup = min(timeit.repeat((tmp_path / "slow/true").exists, number=20, repeat=5)) / 20
    return b"PATH=" + b"slow:" * int(6 / lookup) + b"/bin"


def test_slow_search_may_take_longer_than_5_seconds(
    sandboxd: Daemon, tmp_path: Path, slow_path: bytes
) -> None:
    sandboxd.stream.settimeout(60)
    begun = time.monotonic()
    result = sandboxd.run(b"true", env=(slow_path,), cwd=bytes(tmp_path))
    assert isinstance(result.end, codec.ExecResponse)
    assert time.monotonic() - begun > 5


def test_search_that_is_stopped_most_of_the_time_is_given_up(
    sandboxd: Daemon, tmp_path: Path, slow_path: bytes
) -> None:
    """Another process of the same user stops and continues the process again and again."""
    given_up = threading.Event()

    def stop_and_continue() -> None:
        while not given_up.is_set():
            for child in children(sandboxd.pid):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGSTOP)
                    time.sleep(0.1)  # it is stopped for nearly all of the time
                    os.kill(child, signal.SIGCONT)

    sandboxd.stream.settimeout(60)
    with ThreadPoolExecutor() as pool:
        pool.submit(stop_and_continue)
        try:
            result = sandboxd.run(b"true", env=(slow_path,), cwd=bytes(tmp_path))
        finally:
            given_up.set()
    assert result.failure == (Stage.SETUP, errno.ETIMEDOUT)


@pytest.mark.parametrize("name", [b"nonexistent", b"", b"\xff\xfe", b"-c", b" "])
def test_command_missing_in_all_folders_of_path(sandboxd: Daemon, name: bytes) -> None:
    assert sandboxd.run(name).failure == (Stage.LOOKUP, errno.ENOENT)


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("missing", errno.ENOENT),
        ("file/true", errno.ENOTDIR),
        ("file", errno.EACCES),
        (".", errno.EACCES),
        ("loop", errno.ELOOP),
        ("itself", errno.ELOOP),
    ],
)
def test_path_that_cannot_be_executed(
    sandboxd: Daemon, tmp_path: Path, path: str, number: int
) -> None:
    script(tmp_path / "file", mode=0o644)
    script(tmp_path / "itself", f"#!{tmp_path}/itself\n")
    (tmp_path / "loop").symlink_to("loop")
    assert sandboxd.run(bytes(tmp_path / path)).failure == (Stage.EXEC, number)


@pytest.mark.parametrize("content", ["", "echo without an interpreter\n", "\0\0\0\0"])
def test_file_of_an_unknown_format_cannot_be_executed(
    sandboxd: Daemon, tmp_path: Path, content: str
) -> None:
    path = script(tmp_path / "file", content)
    assert sandboxd.run(path).failure == (Stage.EXEC, errno.ENOEXEC)


LONG = "/no/such/" + "x" * 100

INTERPRETERS = [
    ("#!/no/such/interpreter\n", "/no/such/interpreter"),
    ("#! \t/no/such/interpreter -x\n", "/no/such/interpreter"),
    ("#!/no/such", "/no/such"),
    (f"#!{LONG}\n", LONG[: codec.ExecFailed.MAX_BODY - 9]),
]


@pytest.mark.parametrize(("content", "interpreter"), INTERPRETERS)
def test_an_interpreter_that_is_missing(
    sandboxd: Daemon, tmp_path: Path, content: str, interpreter: str
) -> None:
    result = sandboxd.run(script(tmp_path / "file", content))
    assert result.failure == (Stage.INTERPRETER, errno.ENOENT)
    assert isinstance(result.end, codec.ExecFailed)
    assert result.end.missing == interpreter.encode()
    # The host learns nothing of later failures.
    assert sandboxd.run(b"nonexistent").end == codec.ExecFailed(2, Stage.LOOKUP, errno.ENOENT)


def elf(interpreter: bytes) -> bytes:
    """Return a 64-bit ELF program whose only segment names its interpreter."""
    machine = {"x86_64": 62, "aarch64": 183}[platform.machine()]
    header = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    length = len(interpreter) + 1
    segment = struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, length, length, 1)
    return b"\x7fELF" + bytes([2, 1, 1]) + bytes(9) + header + segment + interpreter + b"\0"


@pytest.mark.parametrize("name", [b"/no/such/ld.so", b"/no/" + b"x" * 200])
def test_a_loader_that_is_missing(sandboxd: Daemon, tmp_path: Path, name: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(elf(name))
    path.chmod(0o755)
    end = sandboxd.run(bytes(path)).end
    assert end == codec.ExecFailed(1, Stage.INTERPRETER, errno.ENOENT, missing=name[:96])


def test_older_host_gets_failures_without_newer_fields(
    daemon_process: Daemon, tmp_path: Path
) -> None:
    daemon_process.send(codec.Hello(1, codec.DIGESTS[1], codec.MAX_BODY, 1))
    daemon_process.receive()
    command = script(tmp_path / "file", "#!/no/such\n")
    daemon_process.send(request(1, command).encode(1))
    frame = daemon_process.stream.recv(100)
    assert frame == codec.ExecFailed(1, Stage.INTERPRETER, errno.ENOENT).encode(1)


def test_an_interpreter_that_is_missing_for_a_command_of_path(
    sandboxd: Daemon, tmp_path: Path
) -> None:
    script(tmp_path / "mycommand", "#!/no/such/interpreter\n")
    end = sandboxd.run(b"mycommand", env=[b"PATH=%s:/nowhere" % bytes(tmp_path)]).end
    missing = b"/no/such/interpreter"
    assert end == codec.ExecFailed(1, Stage.INTERPRETER, errno.ENOENT, missing=missing)


@pytest.mark.parametrize(
    "command", [b"x" * 256, b"x" * 3000, b"/" + b"x" * 256, b"/x" * 2048, b"./" * 2048]
)
def test_a_name_that_is_too_long(sandboxd: Daemon, command: bytes) -> None:
    assert sandboxd.run(command).failure == (Stage.EXEC, errno.ENAMETOOLONG)


def test_arguments_above_the_limit_of_the_kernel_fail(sandboxd: Daemon) -> None:
    _, hard = resource.prlimit(sandboxd.pid, resource.RLIMIT_STACK)
    resource.prlimit(sandboxd.pid, resource.RLIMIT_STACK, (8 << 20, hard))
    many = [b"x" * 60] * 16384
    assert sandboxd.run(*many, command=b"true", env=many).failure == (Stage.EXEC, errno.E2BIG)


def test_limit_of_descriptors_for_the_pipes_of_a_command(sandboxd: Daemon) -> None:
    _, hard = resource.prlimit(sandboxd.pid, resource.RLIMIT_NOFILE)
    used = open_files(sandboxd.pid)
    free = [fd for fd in range(max(used) + 10) if fd not in used]
    # poll(2) accepts no more entries than this limit, and the daemon needs six.
    for limit in [limit for limit in free[:4] if limit >= 6]:
        resource.prlimit(sandboxd.pid, resource.RLIMIT_NOFILE, (limit, hard))
        assert sandboxd.run(b"true").failure == (Stage.PIPE, errno.EMFILE)
    resource.prlimit(sandboxd.pid, resource.RLIMIT_NOFILE, (free[6], hard))
    assert sandboxd.run(b"readlink", b"/proc/self/fd/0").stdout == b"/dev/null\n"
    eventually(lambda: open_files(sandboxd.pid) == used)


def test_failed_starts_do_not_change_the_daemon(sandboxd: Daemon) -> None:
    for _ in range(50):
        assert sandboxd.run(b"nonexistent").failure == (Stage.LOOKUP, errno.ENOENT)
    assert sandboxd.run(b"true").exit_code == 0
    assert sandboxd.status().execs == 1


class TestPath:
    """Tests of the folders in which a command without a slash is looked up."""

    def test_path_of_the_daemon_is_not_searched(
        self, launch: Callable[..., Daemon], tmp_path: Path
    ) -> None:
        script(tmp_path / "mycommand")
        daemon = launch(env={"PATH": str(tmp_path)})
        daemon.hello()
        assert daemon.run(b"mycommand").failure == (Stage.LOOKUP, errno.ENOENT)
        assert daemon.run(b"true").exit_code == 0

    @pytest.mark.parametrize("path", [b"", b":/nowhere", b"/nowhere:", b"/nowhere::/nowhere"])
    def test_an_empty_folder_is_the_working_directory(
        self, sandboxd: Daemon, tmp_path: Path, path: bytes
    ) -> None:
        script(tmp_path / "mycommand")
        result = sandboxd.run(b"mycommand", env=[b"PATH=" + path], cwd=bytes(tmp_path))
        assert result.stdout.startswith(b"ran ")

    def test_a_folder_that_is_a_file_is_passed_over(self, sandboxd: Daemon, tmp_path: Path) -> None:
        script(tmp_path / "mycommand")
        path = b"PATH=%(a)s/mycommand:%(a)s" % {b"a": bytes(tmp_path)}
        assert sandboxd.run(b"mycommand", env=[path]).exit_code == 0

    def test_a_command_with_a_slash_is_not_looked_up(
        self, sandboxd: Daemon, tmp_path: Path
    ) -> None:
        (tmp_path / "sub").mkdir()
        script(tmp_path / "sub" / "mycommand")
        env = [b"PATH=" + bytes(tmp_path)]
        refused = sandboxd.run(b"sub/mycommand", env=env, cwd=b"/")
        assert refused.failure == (Stage.EXEC, errno.ENOENT)
        assert sandboxd.run(b"sub/mycommand", env=env, cwd=bytes(tmp_path)).exit_code == 0

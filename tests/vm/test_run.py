"""Tests of the command `microvm run`."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from tests.support.polling import eventually
from tests.support.processes import children, exists, memory
from tests.vm.conftest import Command

from microvm.images import Image


def test_prints_what_the_command_prints_and_nothing_else(microvm: Command) -> None:
    result = microvm("run", "--", "echo", "hello")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"hello\n", b"")


def test_n_passes_no_standard_input_on(microvm: Command) -> None:
    assert microvm("run", "-n", "--", "cat", input=b"hello").stdout == b""


def test_options_after_the_command_are_the_commands(microvm: Command) -> None:
    assert microvm("run", "echo", "-v", "--help").stdout == b"-v --help\n"


def test_the_root_is_the_images(microvm: Command, image: Image) -> None:
    result = microvm("run", "--", "sh", "-c", "ls / && cat /etc/alpine-release")
    names = result.stdout.decode().split()
    assert {"bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr"} <= set(names)
    if image.manifest.base.startswith("alpine-"):
        assert image.manifest.base == f"alpine-{names[-1]}"
        assert {"home", "lib", "media", "mnt", "opt", "srv", "var"} <= set(names)


def test_keeps_the_streams_apart_and_passes_the_status_on(microvm: Command) -> None:
    result = microvm("run", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (result.returncode, result.stdout, result.stderr) == (7, b"out\n", b"err\n")


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        (["nonexistent"], 127, b"microvm: nonexistent: not found in the guest's PATH\n"),
        (
            ["python:3", "--", "sh", "-c", "a b"],
            127,
            b"microvm: python:3: not found in the guest's PATH (to use an image, write "
            b"`microvm run --image python:3 -- sh -c 'a b'`)\n",
        ),
        (
            ["echo a:b"],
            127,
            b"microvm: echo a:b: not found in the guest's PATH (to run a command line, use a "
            b"shell: sh -c 'echo a:b')\n",
        ),
        (["/etc/passwd"], 126, b"microvm: /etc/passwd: Permission denied\n"),
        (["/etc"], 126, b"microvm: /etc: Permission denied\n"),
        (["sh", "-c", "kill -9 $$"], 137, b""),
        (["sh", "-c", "kill -TERM $$"], 143, b""),
    ],
)
def test_says_how_it_ended(microvm: Command, command: list[str], status: int, says: bytes) -> None:
    result = microvm("run", "--", *command)
    assert (result.returncode, result.stdout, result.stderr) == (status, b"", says)


def test_environment_and_folder_are_those_asked_for(microvm: Command) -> None:
    script = 'echo "$A|$B|$HOME|$SECRET|$(pwd)"'
    host = {**os.environ, "SECRET": "of the host"}
    result = microvm(
        *("run", "-e", "A=1 2", "--env", "B=x=y", "-w", "/tmp", "--", "sh", "-c", script), env=host
    )
    assert result.stdout == b"1 2|x=y|/root||/tmp\n"


def test_a_missing_folder_is_not_a_missing_command(microvm: Command) -> None:
    result = microvm("run", "--workdir", "/nowhere", "--", "true")
    assert result.returncode == 126
    said = b"cannot enter its working directory /nowhere: No such file or directory in the guest\n"
    assert result.stderr == b"microvm: true: " + said


def test_what_is_here_and_not_in_the_guest_is_said_to_be_so(
    microvm: Command, tmp_path: Path
) -> None:
    path = tmp_path / "s.py"
    path.touch()
    for arguments, status in ((["--", str(path)], 127), (["-w", str(tmp_path), "--", "true"], 126)):
        result = microvm("run", *arguments)
        assert result.returncode == status
        assert b"No such file or directory in the guest (it exists on this host" in result.stderr
    assert b"(" not in microvm("run", "--", "/no/such").stderr


def test_a_user_that_is_not_there_is_named(microvm: Command) -> None:
    result = microvm("run", "-u", "bob:staff", "--", "true")
    said = b"true: cannot become its user bob:staff: the guest has no such user or group\n"
    assert (result.returncode, result.stderr) == (126, b"microvm: " + said)


@pytest.mark.parametrize("mib", [16, pytest.param(64, marks=pytest.mark.long)])
def test_random_bytes_arrive_on_both_streams(microvm: Command, tmp_path: Path, mib: int) -> None:
    script = f"head -c {mib}m /dev/urandom | tee /dev/stderr"
    with (tmp_path / "a").open("wb") as out, (tmp_path / "b").open("wb") as err:
        result = microvm(
            "run", "--", "sh", "-c", script, capture_output=False, stdout=out, stderr=err
        )
    assert result.returncode == 0
    digests = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a", "b")]
    assert (tmp_path / "a").stat().st_size == mib << 20
    assert digests[0] == digests[1]


@pytest.mark.parametrize("size", [32, pytest.param(1024, marks=pytest.mark.long)])
def test_much_input_passes_in_bounded_memory(image: Image, size: int) -> None:
    del image
    process = _start("sha256sum")
    block, sent = os.urandom(1 << 20), hashlib.sha256()

    def peak() -> int:
        """Return the peak resident memory of a process in KiB."""
        return memory(process.pid, "VmHWM")

    assert process.stdin is not None
    for number in range(size):
        data = block[number:] + block[:number]
        sent.update(data)
        process.stdin.write(data)
        if number == 8:
            before = peak()
    process.stdin.flush()
    grown = peak() - before
    out, err = _end(process)
    assert (out.split()[0].decode(), err) == (sent.hexdigest(), b"")
    print(f"{size} MiB, memory grew by {grown / 1024:.1f} MiB")
    assert grown <= 16 << 10


def test_an_archive_comes_out_as_it_went_in(microvm: Command, tmp_path: Path) -> None:
    names = [f"file{number}" for number in range(300)]
    for name in names:
        (tmp_path / name).write_bytes(os.urandom(10_000))
    with subprocess.Popen(["tar", "c", "-C", str(tmp_path), *names], stdout=subprocess.PIPE) as tar:
        result = microvm("run", "--", "tar", "t", stdin=tar.stdout)
    assert (result.returncode, result.stdout.decode().split()) == (0, names)


def test_a_command_that_runs_too_long_is_killed(microvm: Command) -> None:
    result = microvm("run", "--timeout", "1", "--", "sh", "-c", "echo so far; sleep 60")
    assert (result.returncode, result.stdout) == (124, b"so far\n")
    assert result.stderr == b"microvm: sh: timed out after 1 s\n"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("poweroff -f", b"microvm: the guest powered off"),
        ("reboot -f", b"microvm: the guest rebooted or powered off"),
        (
            "echo c >/proc/sysrq-trigger",
            b"microvm: the guest kernel crashed: Kernel panic - not syncing: sysrq triggered crash",
        ),
        ("halt -f", b"microvm: the guest is not responding: it does not answer; has it halted?"),
    ],
)
def test_a_guest_that_ends_is_an_error_soon(
    microvm: Command, image: Image, command: str, says: bytes
) -> None:
    if image.manifest.bus == "mmio":  # without ACPI, only a reset ends the guest
        says = says.replace(b"guest powered off", b"guest rebooted or powered off")
    # By its path, because the default image changes if a small kernel is compiled meanwhile.
    result = microvm("run", "--image", str(image.path), "--", "sh", "-c", command)
    said, _, to_do = result.stderr.partition(b" (")
    assert (result.returncode, said) == (125, says)
    assert b"--console" in to_do


def test_the_console_goes_to_a_file(microvm: Command, tmp_path: Path) -> None:
    log = tmp_path / "console"
    script = "echo hello from the guest >/dev/console"
    assert microvm("run", "--console", str(log), "--", "sh", "-c", script).returncode == 0
    assert b"hello from the guest" in log.read_bytes()


def test_limits_have_units(microvm: Command) -> None:
    script = "head -c 1025 /dev/zero"
    result = microvm("run", "--max-output", "1K", "--timeout", "1m", "--", "sh", "-c", script)
    assert (result.returncode, len(result.stdout)) == (125, 1 << 10)
    result = microvm("run", "--timeout", "700ms", "--grace", "100ms", "--", "sleep", "60")
    assert (result.returncode, result.stderr) == (124, b"microvm: sleep: timed out after 0.7 s\n")


def test_a_command_that_takes_more_memory_than_it_may_is_killed(microvm: Command) -> None:
    script = "head -c 60m /dev/zero | tail -c 60m"
    result = microvm("run", "--max-memory", "20M", "--", "sh", "-c", script)
    said = b"microvm: sh: took more than 20M of memory, and was killed (--max-memory"
    assert (result.returncode, result.stdout) == (137, b"")
    assert result.stderr.startswith(said)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--memory", "1K", "--", "true"], 2, "too little memory"),
        (["--memory", "lots", "--", "true"], 2, "'lots' is not a size (write 64M, 1K or 2G"),
        (["--memory", "256", "--", "true"], 2, "a number alone is bytes"),
        (
            ["--memory", "999G", "--", "true"],
            2,
            "does not fit into this host's memory (use at most",
        ),
        (["--cpus", "0", "--", "true"], 2, "'--cpus': 0 is not a whole number from 1 on"),
        (["--cpus", "x", "--", "true"], 2, "'--cpus': 'x' is not a whole number from 1 on"),
        (["--cpus", "999", "--", "true"], 2, "a guest with 999 CPUs cannot boot in time"),
        (["--env", "=x", "--", "true"], 2, "KEY=VALUE"),
        (["--timeout", "0", "--", "true"], 2, "'--timeout': '0' is not a positive duration"),
        (["--timeout", "soon", "--", "true"], 2, "not a duration (write 5s, 500ms or 1h30m"),
        (["--max-output", "-1", "--", "true"], 2, "'--max-output': '-1' is not a size"),
        (["--max-processes", "-1", "--", "true"], 2, "is not a whole number from 0 to 4294967295"),
        (["--max-processes", "99999999999", "--", "true"], 2, "is not a whole number from 0 to"),
        (["--max-memory", "64", "--", "true"], 2, "a number alone is bytes"),
        (["--grace", "1", "--", "true"], 2, "--timeout"),
        (["--max-memory", "lots", "--", "true"], 2, "'lots' is not a size"),
        (["--image", "no-such-image", "--", "true"], 125, "microvm image ls"),
        (["--console", "/nowhere/log", "--", "true"], 2, "console"),
        ([], 2, "CMD"),
    ],
)
def test_bad_input_is_refused_in_a_line(
    microvm: Command, arguments: list[str], status: int, says: str
) -> None:
    result = microvm("run", *arguments)
    assert result.returncode == status
    assert says in result.stderr.decode()
    assert b"Traceback" not in result.stderr


def test_without_qemu_it_says_what_to_install(microvm: Command, tmp_path: Path) -> None:
    result = microvm("run", "--", "true", env={**os.environ, "PATH": str(tmp_path)})
    assert result.returncode == 125
    assert b"not installed (apt install qemu-system" in result.stderr


def test_without_a_compiler_the_launcher_says_what_to_install(
    microvm: Command, image: Image, tmp_path: Path
) -> None:
    """The image, and the templates, are in other caches."""
    qemu = shutil.which(f"qemu-system-{image.manifest.arch}")
    assert qemu
    (tmp_path / Path(qemu).name).symlink_to(qemu)
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['ziglang'] = None\n")
    own = {"PATH": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    empty = {"MICROVM_CACHE": str(tmp_path / "cache")}
    arguments = ["run", "--image", str(image.path), "--", "true"]
    result = microvm(*arguments, env={**os.environ, **own, **empty})
    assert result.returncode == 125
    (line,) = result.stderr.splitlines()
    assert line.startswith(
        b"microvm: QEMU cannot be started: no C compiler that compiles the launcher"
    )
    assert b"`apt install musl-tools binutils make` or `pip install ziglang`" in line
    assert microvm(*arguments).returncode == 0  # this start compiles the launcher
    assert microvm(*arguments, env={**os.environ, **own}).returncode == 0


def test_an_escape_sequence_in_a_name_stays_out_of_the_terminal(microvm: Command) -> None:
    result = microvm("run", "--", "\x1b[31mx")
    assert (result.returncode, result.stdout) == (127, b"")
    assert result.stderr == b"microvm: \\x1b[31mx: not found in the guest's PATH\n"


def test_a_file_that_is_no_kernel_is_refused(microvm: Command, tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"not a kernel" * 1000)
    result = microvm(
        "run", "--", "true", env={**os.environ, "MICROVM_KERNEL": str(tmp_path / "kernel")}
    )
    assert result.returncode == 125
    assert b"kernel" in result.stderr


def test_a_guest_that_does_not_boot_shows_its_console(microvm: Command, unbootable: Path) -> None:
    result = microvm("run", "--image", str(unbootable), "--", "true")
    assert result.returncode == 125
    assert result.stderr.startswith(b"microvm: the guest did not boot: the guest kernel crashed")
    assert b"the end of the guest's console" in result.stderr


def _start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "microvm", "run", "--", *arguments]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Wait until the command exits; none of its child processes may remain."""
    try:
        return process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def _wait_for(line: bytes, process: subprocess.Popen[bytes]) -> list[int]:
    assert process.stdout is not None
    assert process.stdout.readline() == line
    return children(process.pid)


def _pending(pipe: int) -> int:
    """Return the number of bytes that are waiting in a pipe."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_output_is_streamed_and_ctrl_c_reaches_the_command(image: Image) -> None:
    del image
    script = "trap 'echo caught; exit 3' INT; echo started; while :; do sleep 0.1; done"
    process = _start("sh", "-c", script)
    _wait_for(b"started\n", process)
    process.send_signal(signal.SIGINT)
    assert _end(process) == (b"caught\n", b"")
    assert process.returncode == 3


def test_a_second_ctrl_c_ends_the_machine(image: Image) -> None:
    del image
    process = _start(
        "sh", "-c", "trap 'echo caught' INT; echo started; while :; do sleep 0.1; done"
    )
    pids = _wait_for(b"started\n", process)
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    # The next one follows within the second, unless the host is very busy.
    for _ in range(10):
        if process.stdout.readline() != b"caught\n":
            break
        process.send_signal(signal.SIGINT)
    _end(process)
    assert process.returncode == -signal.SIGINT  # a shell reports this status as 130
    assert pids
    eventually(lambda: not any(map(exists, pids)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_us_ends_qemu(image: Image, number: signal.Signals) -> None:
    del image
    process = _start("sh", "-c", "echo started; sleep 60")
    pids = _wait_for(b"started\n", process)
    process.send_signal(number)
    _end(process)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert pids
    eventually(lambda: not any(map(exists, pids)))


def test_a_reader_that_goes_away_ends_the_command(image: Image) -> None:
    del image
    process = _start("yes")
    pids = _wait_for(b"y\n", process)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert _end(process)[1] == b""
    assert process.returncode == 128 + signal.SIGPIPE
    eventually(lambda: not any(map(exists, pids)))


@pytest.mark.parametrize(
    ("shell", "status", "out", "says"),
    [
        ('"$@" run -- cat <&-', 0, b"", b""),
        ('"$@" run -- echo hi >&-', 0, b"", b""),
        ('"$@" run -- sh -c "echo out; echo err >&2" 2>&-', 0, b"out\n", b""),
        (
            '"$@" run -- echo hi >/dev/full',
            125,
            b"",
            b"microvm: cannot write the command's output: No space left on device\n",
        ),
        (
            '"$@" run --max-output 3 -- echo hello',
            125,
            b"hel",
            b"microvm: echo: wrote more than 3 bytes, and was killed (--max-output and max_output",
        ),
        ('"$@" run --timeout nan -- true', 2, b"", b"Usage: "),
        ("\"$@\" run --user '' -- true", 2, b"", b"Usage: "),
    ],
)
def test_strange_streams_and_limits(
    image: Image, shell: str, status: int, out: bytes, says: bytes
) -> None:
    del image
    command = ["sh", "-c", shell, "sh", sys.executable, "-m", "microvm"]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (status, out)
    assert result.stderr.startswith(says)
    assert b"Traceback" not in result.stderr


def test_streams_that_do_not_block_lose_nothing(image: Image) -> None:
    del image
    out, theirs = os.pipe()
    os.set_blocking(theirs, False)
    size = 3_000_000
    command = [sys.executable, "-m", "microvm", "run", "--", "head", "-c", str(size), "/dev/zero"]
    with subprocess.Popen(command, stdout=theirs) as process:
        os.close(theirs)
        with open(out, "rb") as file:  # noqa: PTH123 - a descriptor
            first = file.read(1)
            # A full pipe may hold fewer bytes than its capacity, which counts pages.
            eventually(lambda: _pending(out) > fcntl.fcntl(out, fcntl.F_GETPIPE_SZ) // 2)
            assert len(first + file.read()) == size
        assert process.wait() == 0


@pytest.mark.parametrize("limit", ["--timeout", "a signal"])
def test_a_reader_that_never_reads_does_not_hold_up_the_end(
    image: Image, tmp_path: Path, limit: str
) -> None:
    del image
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    options = ["--timeout", "1"] if limit == "--timeout" else []
    command = [sys.executable, "-m", "microvm", "run", "-v", *options, "--", "yes"]
    with pipe.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert any(b"start: cloned under" in line for line in process.stderr)
    if not options:
        process.terminate()
    assert process.wait(timeout=60) == (124 if options else 128 + signal.SIGTERM)
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    os.close(reader)


INTERRUPTED = """
import os, signal, sys
from microvm.__main__ import main
at, seen = int(sys.argv.pop(1)), 0
def count(event, _):
    global seen
    seen += event == "import"
    if event == "import" and seen == at:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(count)
main()
"""


@pytest.mark.parametrize("step", [29, pytest.param(1, marks=pytest.mark.long)])
def test_a_ctrl_c_at_any_import_is_the_end_by_sigint_and_silence(image: Image, step: int) -> None:
    del image
    statuses: list[int] = []
    while not statuses or statuses[-1]:
        at = str(1 + step * len(statuses))
        command = [sys.executable, "-c", INTERRUPTED, at, "run", "--", "true"]
        result = subprocess.run(command, capture_output=True, timeout=60, check=False)
        statuses.append(result.returncode)
        assert (result.stdout, result.stderr) == (b"", b""), at
    assert set(statuses[:-1]) == {-signal.SIGINT}  # the last signal arrived after all imports
    assert len(statuses) > 100 // step


def test_ctrl_c_before_main_ends_the_process_by_sigint() -> None:
    script = "import microvm.__main__, signal; signal.raise_signal(signal.SIGINT)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, b"", b"")


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.3, 0.5, 1.0])
def test_an_early_ctrl_c_is_the_end_by_sigint_and_silence(image: Image, delay: float) -> None:
    del image
    script = "import microvm.__main__ as m; print('begun', flush=True); m.main()"
    command = [sys.executable, "-c", script, "run", "--", "sleep", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        time.sleep(delay)  # at whatever point it is then
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == (b"", b"")
        assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM"])
def test_what_we_were_started_to_ignore_stays_ignored(image: Image, name: str) -> None:
    del image
    ignoring = ["sh", "-c", f'trap "" {name}; exec "$@"', "sh"]
    command = [*ignoring, sys.executable, "-m", "microvm", "run", "--", "sh", "-c"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*command, "echo begun; read x; echo $x"], stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert process.communicate(b"still here\n", timeout=60) == (b"still here\n", b"")
        assert process.returncode == 0

"""Tests of `microvm python`: its prompt in a real pseudo-terminal, and programs without one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pexpect
import pytest

from microvm import Image
from microvm.start import snapshots

PROMPT = ">>> "
DEADLINE = 100

Prompt = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def prompt(with_python: Image, tmp_path: Path) -> Iterator[Prompt]:
    """Start `microvm python` in a terminal, with a history of its own, and wait for its prompt."""
    started = []

    def start(*arguments: str) -> pexpect.spawn[str]:
        command = ["-m", "microvm", "python", "--image", str(with_python.path), *arguments]
        env = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "TERM": "dumb"}
        child: pexpect.spawn[str] = pexpect.spawn(
            sys.executable,
            command,
            timeout=DEADLINE,
            encoding="utf-8",
            env=env,
            dimensions=(30, 200),
        )
        started.append(child)
        child.expect("Python 3")
        child.expect(PROMPT)
        return child

    yield start
    for child in started:
        child.close(force=True)


@pytest.fixture
def run(with_python: Image, tmp_path: Path) -> Callable[..., CompletedProcess[bytes]]:
    """Run `microvm python` without a terminal, in a folder of the test."""

    def run(*arguments: str, stdin: bytes = b"") -> CompletedProcess[bytes]:
        command = [sys.executable, "-m", "microvm", "python", "--image", str(with_python.path)]
        return subprocess.run(
            [*command, *arguments],
            input=stdin,
            capture_output=True,
            timeout=DEADLINE,
            cwd=tmp_path,
            check=False,
        )

    return run


def enter(child: pexpect.spawn[str], code: str, shown: str, *, prompt: str = PROMPT) -> None:
    """Type a line, and wait for text of its output, and for the next prompt."""
    child.sendline(code)
    child.expect_exact(f"{code}\r\n")  # the echo
    child.expect_exact(shown)
    child.expect_exact(prompt)


def ended(child: pexpect.spawn[str]) -> int | None:
    child.expect(pexpect.EOF)
    child.wait()
    status: int | None = child.exitstatus
    return status


@pytest.mark.thorough
def test_prompt_keeps_variables_and_shows_values_and_errors(prompt: Prompt) -> None:
    child = prompt()
    enter(child, "x = 41", "")
    enter(child, "x + 1", "42\r\n")
    enter(child, "1 / 0", "ZeroDivisionError: division by zero\r\n")
    enter(child, "_", "42\r\n")
    child.sendline("exit(3)")
    assert ended(child) == 3


@pytest.mark.thorough
def test_questions_of_a_cell_are_asked_at_the_terminal(prompt: Prompt) -> None:
    child = prompt()
    child.sendline("name = input('who? ')")
    child.expect_exact("\nwho? ")
    child.sendline("you")
    child.expect_exact(PROMPT)
    child.sendline("import getpass; secret = getpass.getpass('word: ')")
    child.expect_exact("\r\nword: ")
    child.sendline("hidden")
    child.expect_exact(PROMPT)
    assert "hidden" not in (child.before or "")
    enter(child, "name, secret", "('you', 'hidden')\r\n")
    child.sendline("input('again? ')")
    child.expect_exact("\nagain? ")
    child.sendcontrol("c")
    child.expect_exact("KeyboardInterrupt")
    child.expect_exact(PROMPT)
    enter(child, "name", "'you'\r\n")


@pytest.mark.thorough
def test_ctrl_c_interrupts_and_a_second_one_kills_children(prompt: Prompt) -> None:
    child = prompt()
    child.sendline("import time; kept = 1; print('be' 'gun'); time.sleep(600)")
    child.expect_exact("\nbegun")
    child.sendcontrol("c")
    child.expect_exact("KeyboardInterrupt\r\n")
    child.expect_exact(PROMPT)
    child.send("unfinished")
    child.expect_exact("unfinished")
    child.sendcontrol("c")
    child.expect_exact("KeyboardInterrupt\r\n")
    child.expect_exact(PROMPT)
    # os.system ignores SIGINT while its command runs, and so does the command here.
    child.sendline("""import os; os.system('trap "" INT; echo be""gun; sleep 600; true')""")
    child.expect_exact("\nbegun")
    child.sendcontrol("c")
    child.expect(pexpect.TIMEOUT, timeout=0.3)
    child.sendcontrol("c")
    child.expect_exact(PROMPT)
    enter(child, "kept", "1\r\n")


@pytest.mark.thorough
def test_history_and_completion(prompt: Prompt, tmp_path: Path) -> None:
    child = prompt()
    enter(child, "import os; variable_of_mine = 7", "")
    child.send("variable_of\t")
    child.expect_exact("variable_of_mine")
    enter(child, " * 2", "14\r\n")
    child.send("os.getpi\t")
    child.expect_exact("os.getpid")
    enter(child, "() > 1", "True\r\n")
    child.sendcontrol("d")
    assert ended(child) == 0
    history = tmp_path / "microvm/python-history"
    assert history.stat().st_mode & 0o777 == 0o600
    assert history.read_text().splitlines() == [
        "import os; variable_of_mine = 7",
        "variable_of_mine * 2",
        "os.getpid() > 1",
    ]
    child = prompt()
    child.send("\x10")  # the key for the line before
    child.expect_exact("os.getpid() > 1")


@pytest.mark.thorough
def test_program_has_its_arguments_and_its_traceback(
    run: Callable[..., CompletedProcess[bytes]], tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(
        "import atexit, sys, threading, time\n"
        "atexit.register(print, 'last')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n"
        "print(sys.argv, __name__, __file__)\n"
        "sys.stdout.buffer.write(b'\\xff\\n')\n"
        "7\n"
        "def f(): return 1 / 0\n"
        "f()\n"
    )
    done = run("program.py", "-x", "y")
    first = b"['program.py', '-x', 'y'] __main__ program.py\n"
    assert done.stdout == first + b"\xff\nthread\nlast\n"
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == b"ZeroDivisionError: division by zero"
    traced = [line.strip() for line in done.stderr.splitlines() if b"File" in line]
    assert traced == [
        b'File "program.py", line 8, in <module>',
        b'File "program.py", line 7, in f',
    ]


def test_input_is_read_from_standard_input(run: Callable[..., CompletedProcess[bytes]]) -> None:
    code = (
        "import sys; print(sys.stdin.buffer.read(128_000) == bytes(range(256)) * 500)\n"
        "print([input('name? '), *sys.stdin]); input()"
    )
    done = run("-c", code, stdin=bytes(range(256)) * 500 + b"one\ntwo\nthree")
    assert done.stdout == b"True\nname? ['one', 'two\\n', 'three']\n"
    assert done.stderr.splitlines()[-1] == b"EOFError: EOF when reading a line"


@pytest.mark.thorough
def test_module_beside_a_program_has_to_be_copied(
    run: Callable[..., CompletedProcess[bytes]], tmp_path: Path
) -> None:
    (tmp_path / "helper.py").write_text("def help(): return json.dumps('helped')\nimport json\n")
    (tmp_path / "program.py").write_text("import helper; print(helper.help(), json.__name__)\n")
    done = run("program.py")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        b"microvm: helper.py exists on this host, but a machine sees no files of the host: copy it "
        b"with --copy helper.py"
    )
    done = run("--imports", "json", "--copy", "helper.py", "program.py")
    assert (done.returncode, done.stdout) == (0, b'"helped" json\n')


@pytest.mark.thorough
def test_files_are_collected_even_after_python_has_exited(
    run: Callable[..., CompletedProcess[bytes]], tmp_path: Path
) -> None:
    write = "import os, sys; open('made', 'w').write('ok')"
    for end, status in (("", 0), ("sys.exit(3)", 3), ("os._exit(4)", 4)):
        done = run("--collect", f"made:copy{status}", "-c", f"{write}; {end}")
        assert done.returncode == status
        assert (tmp_path / f"copy{status}").read_text() == "ok"
    assert run("--collect", "absent", "-c", "").returncode == 125


def test_pictures_are_saved_on_request(
    run: Callable[..., CompletedProcess[bytes]], tmp_path: Path
) -> None:
    code = (
        "class Picture:\n"
        "    def _repr_png_(self): return b'png'\n"
        "    def _repr_html_(self): return '<p>'\n"
        "    def __repr__(self): return 'a square'\n"
        "display(Picture(), 'text', Picture())\n"
        "import atexit, sys, types\n"
        "numbers = [1]\n"
        "atexit.register(numbers.clear)\n"
        "figure = types.SimpleNamespace(savefig=lambda file, **_: file.write(b'figure'))\n"
        "sys.modules['matplotlib.pyplot'] = types.SimpleNamespace(\n"
        "    get_fignums=lambda: numbers, figure=lambda _: figure, close=lambda _: None\n"
        ")\n"
    )
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown/1.png").write_bytes(b"before")
    done = run("--displays", "shown", "-c", code)
    assert done.stdout == b"a square\ntext\na square\n"
    pictures = {each.name: each.read_bytes() for each in (tmp_path / "shown").iterdir()}
    assert pictures == {"1.png": b"before", "2.png": b"png", "3.png": b"png", "4.png": b"figure"}
    assert b"microvm: a picture (image/png, 3) is saved as shown/3.png" in done.stderr
    assert b"--displays DIR saves pictures" in run("-c", code).stderr


STUBBORN = """
open('made', 'w').write('ok')
while True:
    try:
        while True: pass
    except KeyboardInterrupt: pass
"""
TIDY = """
open('made', 'w').write('ok')
try: __import__('time').sleep(60)
except KeyboardInterrupt: print('tidy')
"""
LATE = """
import atexit, time
open('made', 'w').write('ok')
atexit.register(time.sleep, 60)
"""
WORDY = "open('made', 'w').write('ok'); print('abcdef', flush=True); __import__('time').sleep(60)"
LARGE = "open('made', 'w').write('ok'); bytearray(300 << 20)"
FORKING = """
import os, threading
open('made', 'w').write('ok')
print(os.getuid())
for _ in range(20): threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


@pytest.mark.parametrize(
    ("options", "code", "status", "stdout", "stderr"),
    [
        ("--timeout 3", STUBBORN, 124, "", "microvm: <string>: timed out after 3 s\n"),
        pytest.param(
            *("--timeout 3 --grace 60", TIDY, 124, "tidy\n", "timed out after 3 s\n"),
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            *("--timeout 3", LATE, 124, "", "timed out after 3 s\n"), marks=pytest.mark.thorough
        ),
        ("--max-output 3", WORDY, 122, "abc", "wrote more than 3 bytes, and was killed"),
        ("--max-memory 128M", LARGE, 137, "", "it exceeded its memory limit\n"),
        ("--user 1234 --max-processes 8", FORKING, 1, "1234\n", "can't start new thread\n"),
    ],
    ids=["timeout", "grace", "atexit", "max-output", "max-memory", "user"],
)
def test_program_is_limited_and_its_files_are_collected(
    run: Callable[..., CompletedProcess[bytes]],
    tmp_path: Path,
    options: str,
    code: str,
    status: int,
    stdout: str,
    stderr: str,
) -> None:
    done = run(*options.split(), "--collect", "made", "-c", code)
    shown = done.stdout.decode()
    assert (done.returncode, shown) == (status, stdout), done.stderr.decode()
    assert stderr in done.stderr.decode()
    assert (tmp_path / "made").read_text() == "ok"


@pytest.mark.thorough
def test_time_limit_ends_a_wait_for_input(with_python: Image, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("copied\n")
    command = [sys.executable, "-m", "microvm", "python", "--image", str(with_python.path)]
    code = "import os; print(os.stat('data').st_uid, open('data').read(), flush=True); input()"
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer, "wb"):
        done = subprocess.run(
            [*command, "--timeout", "3", "--user", "1234", "--copy", "data", "-c", code],
            stdin=reader,
            capture_output=True,
            timeout=DEADLINE,
            cwd=tmp_path,
            check=False,
        )
    assert (done.returncode, done.stdout) == (124, b"1234 copied\n\n"), done.stderr


def test_limit_of_a_program_is_refused_at_the_prompt() -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "microvm", "python", "--max-output", "1K"], encoding="utf-8"
    )
    child.expect_exact("--max-output: it limits programs, and has no effect at the prompt")
    assert ended(child) == 2


@pytest.mark.thorough
def test_program_continues_a_snapshot(run: Callable[..., CompletedProcess[bytes]]) -> None:
    code = "import atexit; atexit.register(print, 'last'); input(); kept = 'state'"
    try:
        done = run("--save", "python-command", "-c", code, stdin=b"\n")
        assert (done.returncode, done.stdout) == (0, b"")
        command = [sys.executable, "-m", "microvm", "python", "--from", "python-command"]
        done = subprocess.run(
            [*command, "-c", "print(kept, input())"],
            input=b"given",
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, b"state given\nlast\n")
    finally:
        snapshots.STORE.remove("python-command")


@pytest.mark.thorough
def test_program_that_failed_is_not_saved(run: Callable[..., CompletedProcess[bytes]]) -> None:
    done = run("--save", "python-unsaved", "-c", "import sys; sys.exit(3)")
    assert done.returncode == 3
    assert done.stderr.endswith(b"no snapshot python-unsaved was saved: the status is 3\n")
    assert not snapshots.STORE.path("python-unsaved").exists()

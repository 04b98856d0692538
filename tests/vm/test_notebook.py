"""Tests of cells in machines, and of both forms of the API, in a real Jupyter kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager
from tests.support.jupyter_kernel import DEADLINE, JupyterKernel, Shown, running
from tests.support.polling import eventually
from tests.support.processes import children, exists

from microvm import Image

INTERRUPTED = ["KeyboardInterrupt"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment variables of a Jupyter kernel that uses a runtime folder of its own."""
    folder = str(tmp_path_factory.mktemp("kernel"))
    folders = ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "XDG_RUNTIME_DIR")
    return {**os.environ, **dict.fromkeys(folders, folder), "JUPYTER_PLATFORM_DIRS": "1"}


@pytest.fixture(scope="module")
def kernel(environment: dict[str, str]) -> Iterator[JupyterKernel]:
    """A Jupyter kernel. After its tests, no machine that it has started may run."""
    folder = Path(environment["IPYTHONDIR"])
    manager = KernelManager(transport="ipc", connection_file=str(folder / "kernel.json"))
    with running(manager, env=environment, cwd=str(folder)) as kernel:
        assert not kernel.run("%load_ext microvm").error
        yield kernel
        kernel.run("%%microvm\ntrue")
        left = children(kernel.pid)
        assert left
    eventually(lambda: not any(map(exists, left)))


@pytest.mark.thorough
def test_cells_run_in_sh_and_their_changes_stay(kernel: JupyterKernel) -> None:
    shown = kernel.run("%%microvm\necho out; echo err >&2; touch /root/here; cd /tmp; x=1")
    assert (sorted(shown.streams), shown.error) == ([("stderr", "err\n"), ("stdout", "out\n")], [])
    assert kernel.run('%%microvm\nls; echo "$x"').stdout == "here\n\n"
    assert kernel.run("%microvm ls /root").stdout == "here\n"
    assert kernel.run("%%microvm --rm -e WHO=you\nls; echo $WHO").stdout == "you\n"
    assert kernel.run("%%microvm rev\nabc").stdout == "cba\n"
    assert kernel.machines() == 1


def test_a_failure_is_an_error_of_one_line(kernel: JupyterKernel) -> None:
    failed = "CalledProcessError: Command 'sh' returned non-zero exit status 3."
    shown = kernel.run("%%microvm\necho before; exit 3")
    assert (shown.stdout, shown.error) == ("before\n", [failed])
    shown = kernel.run("%%microvm --timeout 100ms\nsleep 60")
    assert shown.error == ["ExecTimeout: sh: timed out after 0.1 s"]
    shown = kernel.run("%microvm nosuch")
    assert shown.error == ["CommandNotFound: nosuch: not found in the guest's PATH"]
    quiet = "%%microvm --no-raise-error --out o --err e\nprintf 'ab\\303\\244\\377'; echo x >&2; "
    assert kernel.run(quiet + "kill -9 $$") == Shown()
    assert kernel.run("o, e, _exit_code").value == "('abä\ufffd', 'x\\n', -9)"


def test_interruption_reaches_the_command_and_not_the_kernel(kernel: JupyterKernel) -> None:
    # A shell handles signals between two commands.
    loop = "trap 'echo bye; exit' INT; echo begun; while :; do sleep 0.1; done"
    shown = kernel.run(f"%%microvm\ntouch /root/still; {loop}", interrupt_at="begun")
    assert (shown.stdout, shown.error) == ("begun\nbye\n", INTERRUPTED)
    deaf = "%%microvm\ntrap '' INT; echo begun; sleep 60"
    shown = kernel.run(deaf, interrupt_at="begun", again=True)
    assert (shown.stdout, shown.error) == ("begun\n", INTERRUPTED)
    assert kernel.run("%microvm yes", interrupt_at="y").error == INTERRUPTED
    assert kernel.run("%%microvm\nls /root/still; pidof yes sleep").stdout == "/root/still\n"


@pytest.mark.thorough
def test_machines_are_listed_ended_and_started_again(kernel: JupyterKernel) -> None:
    kernel.run("%%microvm --machine vm\ntouch /root/old")
    assert kernel.run("vm.write_file('/root/new', b'text'); vm.pid").value in {
        str(pid) for pid in children(kernel.pid)
    }
    assert kernel.run("%%microvm\ncat /root/new").stdout == "text"
    assert kernel.run("%microvm").stdout.startswith("the default: <MicroVM ")
    assert kernel.run("%microvm --memory 300M restart") == Shown()
    shown = kernel.run(
        "%%microvm --memory 300M\nls /root; awk '/MemTotal/ { print $2 }' </proc/meminfo"
    )
    assert 240 << 10 < int(shown.stdout) <= 300 << 10
    assert kernel.run("%microvm stop") == Shown()
    assert kernel.machines() == 0
    assert kernel.run("%microvm") == Shown()


def test_next_cell_after_a_dead_machine_has_a_new_one(kernel: JupyterKernel) -> None:
    shown = kernel.run("%%microvm\ntouch /root/old; reboot -f")
    assert shown.error[0].startswith("GuestDied: the guest rebooted")
    assert "the next cell starts a new one" in shown.stderr
    assert kernel.run("%%microvm\nls /root; echo new").stdout == "new\n"


def test_sync_and_async_api_work_in_cells(kernel: JupyterKernel) -> None:
    kernel.run("%xmode Minimal")  # Otherwise IPython needs a second to print the traceback
    assert not kernel.run("import microvm.sync\nvm = microvm.MicroVM()\nawait vm.start()").error
    assert kernel.run("(await vm.run(['echo', 'hello'])).stdout").value == r"b'hello\n'"
    assert not kernel.run("await vm.stop()\nvm = microvm.sync.MicroVM()\nvm.start()").error
    shown = kernel.run("print('begun'); vm.run(['sleep', '60'])", interrupt_at="begun")
    assert "KeyboardInterrupt" in shown.error[-1]
    assert kernel.run("vm.run(['echo', 'hello']).stdout").value == r"b'hello\n'"
    assert not kernel.run("vm.stop()").error


@pytest.mark.long
def test_cell_can_run_in_a_named_machine(
    kernel: JupyterKernel, environment: dict[str, str]
) -> None:
    def microvm(*arguments: str) -> None:
        command = [sys.executable, "-m", "microvm", *arguments]
        subprocess.run(command, env=environment, timeout=DEADLINE, check=True)

    microvm("start", "web")
    try:
        before = kernel.machines()
        assert kernel.run("%%microvm --name web\necho hello >/root/said; exit 3").error
        assert kernel.run("%%microvm --name web --machine vm\ncat /root/said").stdout == "hello\n"
        assert kernel.run("vm.read_file('/root/said')").value == r"b'hello\n'"
        shown = kernel.run("%%microvm --name web\necho begun; sleep 60", interrupt_at="begun")
        assert shown.error == INTERRUPTED
        assert "leave out --memory" in kernel.run("%%microvm --name web --memory 1G\n:").stderr
        assert "microvm stop NAME" in kernel.run("%microvm --name web stop").stderr
        assert kernel.machines() == before
    finally:
        microvm("stop", "web")
    assert "MicroVMError: " in kernel.run("%%microvm --name web\n:").error[0]


@pytest.fixture(scope="module")
def magic(with_python: Image) -> str:
    """The beginning of the line of a cell that Python runs."""
    return f"%%microvm --image {with_python.path}"


@pytest.mark.thorough
def test_python_keeps_variables_and_shows_values(kernel: JupyterKernel, magic: str) -> None:
    assert kernel.run(f"{magic}\nx = 20").displays == []
    assert kernel.run(f"{magic}\nx += 1\nx").displays == [{"text/plain": "21"}]
    shown = kernel.run(f"{magic} --out o\nimport os, sys; os.write(1, b'\\xc3'); print('\\xe4')")
    assert (shown.stdout, shown.error) == ("", [])
    assert kernel.run("o").value == "'\ufffdä\\n'"
    assert not kernel.run(f"{magic} --machine python\nx").error
    value = kernel.run("python.set('y', 2); python.get('x') + python.get('y')").value
    assert (value, kernel.run("python.vm.run(['true']).returncode").value) == ("23", "0")
    assert kernel.run(f"{magic} python3\nprint('x' in globals())").stdout == "False\n"
    assert "write `python3`" in kernel.run(f"{magic} -e A=b\nx").stderr
    assert kernel.run(f"{magic} --rm\n'x' in globals()").displays == [{"text/plain": "False"}]


def test_error_of_python_is_its_traceback_and_a_line(kernel: JupyterKernel, magic: str) -> None:
    shown = kernel.run(f"{magic}\nprint('before')\n1 / 0")
    assert (shown.stdout, shown.error) == (
        "before\n",
        ["InterpreterError: ZeroDivisionError: division by zero"],
    )
    assert "Traceback (most recent call last):\n" in shown.stderr
    assert "    1 / 0\n" in shown.stderr
    assert kernel.run("_exit_code").value == "1"
    assert kernel.run(f"{magic} --no-raise-error\nexit(3)").error == []
    assert kernel.run("_exit_code").value == "3"
    assert kernel.run(f"{magic}\nexit()").error == []


def test_only_safe_displays_are_shown(kernel: JupyterKernel, magic: str) -> None:
    kernel.run(
        f"{magic}\nclass Shown:\n"
        "    def __init__(self, **data): self.data = data\n"
        "    def __repr__(self): return 'text'\n"
        "    def _repr_mimebundle_(self, include, exclude): return self.data\n"
        "types = ('image/png', 'text/html', 'application/javascript')\n"
        "picture = Shown(**dict.fromkeys(types, b'\\x00<script>'))\n"
        "drawing = Shown(**{'image/svg+xml': '<svg onload=evil()>', 'text/html': '<script>'})\n"
    )
    safe = {"image/png": "ADxzY3JpcHQ+", "text/plain": "text"}
    assert kernel.run(f"{magic}\ndisplay(picture)\npicture").displays == [safe, safe]
    [drawn] = kernel.run(f"{magic}\ndrawing").displays
    assert drawn.pop("text/plain") == "text"
    html = '<img src="data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ZXZpbCgpPg==">'
    assert drawn == {"text/html": html}
    [trusted] = kernel.run(f"{magic} --trust-html\npicture").displays
    assert trusted["text/html"] == trusted["application/javascript"] == "\x00<script>"


def test_interruption_of_python_keeps_its_variables(kernel: JupyterKernel, magic: str) -> None:
    cell = "kept = 1\nimport time\nprint('begun')\ntime.sleep(60)"
    shown = kernel.run(f"{magic}\n{cell}", interrupt_at="begun")
    assert (shown.stdout, shown.error) == ("begun\n", INTERRUPTED)
    assert shown.stderr.endswith("KeyboardInterrupt\n")
    shown = kernel.run(f"{magic} --timeout 100ms\ntime.sleep(60)")
    assert shown.error == ["ExecTimeout: the cell: timed out after 0.1 s"]
    # os.system ignores SIGINT while its command runs, and so does the command here.
    cell = """import os; os.system('trap "" INT; echo begun; sleep 60; true'); kept"""
    shown = kernel.run(f"{magic}\n{cell}", interrupt_at="begun", again=True)
    assert shown.error == INTERRUPTED
    assert kernel.run(f"{magic}\nkept").displays == [{"text/plain": "1"}]


@pytest.mark.thorough
def test_unloading_ends_the_machines(kernel: JupyterKernel) -> None:
    kernel.run("%%microvm\ntrue")
    assert not kernel.run("%unload_ext microvm").error
    assert kernel.machines() == 0
    assert "not found" in kernel.run("%%microvm\ntrue").stderr
    assert not kernel.run("%load_ext microvm").error

"""Tests of cells in machines, and of both forms of the API, in a real Jupyter kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from signal import SIGINT
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop
from tests.support.polling import eventually
from tests.support.processes import children, exists

DEADLINE = 120.0
INTERRUPTED = ["KeyboardInterrupt"]


@dataclass
class Shown:
    """The output of a cell: its streams in order, its value, and the lines of its error."""

    streams: list[tuple[str, str]] = field(default_factory=list)
    value: str = ""
    error: list[str] = field(default_factory=list)
    help: str = ""

    def __getattr__(self, name: str) -> str:
        return "".join(text for stream, text in self.streams if stream == name)


class JupyterKernel:
    """A Jupyter kernel that runs one cell at a time."""

    def __init__(
        self, manager: KernelManager, client: BlockingKernelClient, env: dict[str, str]
    ) -> None:
        self._manager = manager
        self._client = client
        self.env = env
        self.pid = int(self.run("import os; os.getpid()").value)

    def run(self, code: str, *, interrupt_at: str = "", again: bool = False) -> Shown:
        """Run a cell. Interrupt it after it has written a text, and once more a little later."""
        shown = Shown()

        def take(message: dict[str, Any]) -> None:
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    before = shown.stdout
                    shown.streams.append((content["name"], content["text"]))
                    if interrupt_at and interrupt_at not in before and interrupt_at in shown.stdout:
                        self._manager.interrupt_kernel()
                        if again:
                            threading.Timer(0.3, os.kill, (self.pid, SIGINT)).start()
                case "execute_result":
                    shown.value = content["data"]["text/plain"]
                case "error":
                    shown.error = content["traceback"]

        reply = self._client.execute_interactive(code, output_hook=take, timeout=DEADLINE)
        for page in reply["content"].get("payload", []):
            shown.help += page["data"]["text/plain"]
        return shown

    def machines(self) -> int:
        """Return the number of QEMU processes of the kernel."""
        return len(children(self.pid))


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterKernel]:
    """A Jupyter kernel in a folder of its own. No machine of it may remain."""
    folder = tmp_path_factory.mktemp("kernel")
    folders = ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "XDG_RUNTIME_DIR")
    env = {**os.environ, **dict.fromkeys(folders, str(folder)), "JUPYTER_PLATFORM_DIRS": "1"}
    manager = KernelManager(transport="ipc", connection_file=str(folder / "kernel.json"))
    manager.start_kernel(env=env, cwd=str(folder))
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=DEADLINE)
        kernel = JupyterKernel(manager, client, env)
        assert not kernel.run("%load_ext microvm").error
        yield kernel
        kernel.run("%%microvm\ntrue")
        left = children(kernel.pid)
        assert left
        client.stop_channels()
        manager.shutdown_kernel()
        eventually(lambda: not any(map(exists, left)))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        ensure_event_loop().close()  # the client created an event loop and does not close it


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
    assert shown.error == ["StartError: nosuch: not found in the guest's PATH"]
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


def test_wrong_usage_is_reported_in_one_line(kernel: JupyterKernel) -> None:
    for line, said in {
        "--nope": "No such option '--nope'",
        "--memory 1": "'1' is too little memory for a guest",
        "--memory 1G": "started with another --memory: use `%microvm --memory … restart` to",
        "--grace 1s": "--grace has no effect without --timeout",
        "'": "No closing quotation",
    }.items():
        shown = kernel.run(f"%%microvm {line}\ntrue")
        assert shown.stderr.startswith("UsageError: ")
        assert said in shown.stderr
    assert kernel.run("%%microvm --image nosuch\ntrue").error[0].startswith("ImageError: no image")


def test_machines_are_listed_ended_and_started_again(kernel: JupyterKernel) -> None:
    kernel.run("%%microvm --machine vm\ntouch /root/old")
    assert kernel.run("vm.write_file('/root/new', b'text'); vm.pid").value in {
        str(pid) for pid in children(kernel.pid)
    }
    assert kernel.run("%%microvm\ncat /root/new").stdout == "text"
    assert kernel.run("%microvm").stdout.startswith("the default: <MicroVM of ")
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


def test_help_has_the_options_of_the_command_line(kernel: JupyterKernel) -> None:
    for shown in (kernel.run("%%microvm?").help, kernel.run("%microvm --help").stdout):
        assert "Usage: %%microvm [OPTIONS] [--] [CMD [ARG]...]" in shown
        assert all(name in shown for name in ("--image", "-m, --memory", "--max-output", "--out"))
        assert "--tty" not in shown


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
def test_awaited_command_of_a_cell_can_be_interrupted(kernel: JupyterKernel) -> None:
    """The loop of the kernel handles the signal at its next event, within two seconds."""
    assert not kernel.run("import microvm\nvm = microvm.MicroVM()\nawait vm.start()").error
    shown = kernel.run("print('begun'); await vm.run(['sleep', '60'])", interrupt_at="begun")
    assert "CancelledError" in shown.error[-1]
    assert kernel.run("(await vm.run(['echo', 'hello'])).stdout").value == r"b'hello\n'"
    assert not kernel.run("await vm.stop()").error


@pytest.mark.long
def test_cell_can_run_in_a_named_machine(kernel: JupyterKernel) -> None:
    def microvm(*arguments: str) -> None:
        command = [sys.executable, "-m", "microvm", *arguments]
        subprocess.run(command, env=kernel.env, timeout=DEADLINE, check=True)

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


@pytest.mark.long
def test_cell_is_python_code_in_an_image_with_python(kernel: JupyterKernel) -> None:
    """Its output appears at once, and Ctrl-C interrupts Python."""
    cell = "import time\nfor word in ('begun', 'more'):\n    print(word)\n    time.sleep(60)"
    shown = kernel.run(f"%%microvm --image python\n{cell}", interrupt_at="begun\n")
    assert (shown.stdout, shown.error) == ("begun\n", INTERRUPTED)
    assert shown.stderr.endswith("KeyboardInterrupt\n")
    shown = kernel.run("%%microvm --image python\n1 / 0")
    assert shown.stderr.endswith("ZeroDivisionError: division by zero\n")
    failed = "CalledProcessError: Command 'python3' returned non-zero exit status 1."
    assert shown.error == [failed]
    assert kernel.run("%%microvm --image python sh\necho $0").stdout == "sh\n"
    kernel.run("%microvm --image python stop")


def test_unloading_ends_the_machines(kernel: JupyterKernel) -> None:
    kernel.run("%%microvm\ntrue")
    assert not kernel.run("%unload_ext microvm").error
    assert kernel.machines() == 0
    assert "not found" in kernel.run("%%microvm\ntrue").stderr
    assert not kernel.run("%load_ext microvm").error

"""Tests of the examples that use machines, and of processes that a clone must reseed."""

from __future__ import annotations

import functools
import json
import re
import shlex
import signal
import subprocess
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from tests.support.browser import opened
from tests.support.example_server import serving
from tests.support.jupyter_kernel import Shown, running
from tests.support.polling import eventually
from tests.support.processes import children, exists

from microvm import MicroVM

pytestmark = [pytest.mark.thorough, pytest.mark.long, pytest.mark.deadline(3000)]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# A process that on request draws from both of its random generators, with or without a new seed.
DRAWS = """
os.mkfifo("/run/answers")
os.mkfifo("/run/questions")
refresh(), random.random(), ssl.RAND_bytes(8)
while True:
    with open("/run/questions") as file:
        if file.read() == "anew":
            refresh()
    with open("/run/answers", "w") as file:
        print(random.random(), ssl.RAND_bytes(8).hex(), file=file)
"""
START = "python3 /run/draws.py & until [ -p /run/questions ]; do sleep 0.1; done"
ASK = 'printf %s "$1" >/run/questions; exec cat /run/answers'


def run(*command: str, folder: Path) -> list[str]:
    """Run a Python command, and return the lines of its output."""
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_ten_forks_of_a_warm_interpreter_give_ten_answers() -> None:
    *answers, _ = run("ask.py", folder=EXAMPLES / "warm_interpreter")
    squares, numbers = zip(*(answer.split() for answer in answers), strict=True)
    assert squares == tuple(str(number**2) for number in range(10))
    assert len(set(numbers)) == 10


def test_each_test_gets_the_original_database() -> None:
    folder = EXAMPLES / "postgres"
    build = ("image", "build", "postgres", "-f", "postgres.toml")
    run("-m", "microvm", *build, folder=folder)
    lines = run("-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=folder)
    assert lines[-1].startswith("21 passed")


def test_package_of_the_example_is_tested_in_machines() -> None:
    alone = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-n2")
    lines = run("-B", "-m", "pytest", "-q", *alone, folder=EXAMPLES / "pytest")
    assert lines[-1].startswith("9 passed")


def test_a_thousand_programs_get_the_expected_grades() -> None:
    verdicts, _ = run("-B", "grade.py", "1000", folder=EXAMPLES / "grade")
    found = {kind: int(number) for number, kind in re.findall(r"(\d+) ([a-z ]+)", verdicts)}
    assert set(found) == {"right", "wrong", "too slow", "too long"}
    assert sum(found.values()) == 1000


def test_kernel_of_a_notebook_runs_in_a_machine(tmp_path: Path) -> None:
    folder = EXAMPLES / "jupyter"
    run("-m", "microvm", "image", "build", "jupyter", "-f", "jupyter.toml", folder=folder)
    specs = KernelSpecManager(kernel_dirs=[str(tmp_path / "share/jupyter/kernels")])
    specs.install_kernel_spec(str(folder), "machine", prefix=str(tmp_path))
    connection = str(tmp_path / "connection.json")
    manager = KernelManager(
        kernel_name="machine", kernel_spec_manager=specs, connection_file=connection
    )
    with running(manager, cwd=str(tmp_path)) as kernel:
        assert kernel.run("import socket; socket.gethostname()").value == "'microvm'"
        assert kernel.run("x = 1") == Shown()
        shown = kernel.run("print('begun'); import time; time.sleep(600)", interrupt_at="begun")
        assert "KeyboardInterrupt" in shown.error[-1]
        assert kernel.run("x + 1").value == "2"
        (machine,) = children(kernel.pid)
    eventually(lambda: not exists(machine))


def test_browser_of_the_host_signs_the_guest_book_in_a_machine(tmp_path: Path) -> None:
    folder = EXAMPLES / "web"
    run("-m", "microvm", "image", "build", "web", "-f", "web.toml", folder=folder)
    command = [sys.executable, "-m", "microvm", "run", "--image", "web", "-p", "8000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        try:
            lines = iter(server.stderr.readline, "")
            ports = (re.search(r"127\.0\.0\.1:(\d+)", line) for line in lines)
            url = f"http://127.0.0.1:{next(filter(None, ports))[1]}/"
            next(line for line in lines if "Application startup complete" in line)
            with opened(url, tmp_path / "profile") as page:
                eventually(lambda: page.run("book.innerText") == "Welcome")
                page.run("entry.value = '<b>'; document.querySelector('button').click()")
                eventually(lambda: page.run("book.innerText") == "Welcome\n<b>")
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate()


def test_browser_shows_the_cells_of_a_visitor(tmp_path: Path, copied_cache: None) -> None:
    """Build an image first: the one in the cache may be of an older version of microvm."""
    shown = "document.querySelector('section:last-child')"
    uploaded = """
const files = new DataTransfer();
files.items.add(new File(["1,2,3"], "numbers.csv"));
file.files = files.files;
file.dispatchEvent(new Event("change"));
"""
    plot = """
numbers = [int(number) for number in open('/data/numbers.csv').read().split(',')]
_ = matplotlib.pyplot.plot(numbers)
print('<b>' * 2)
sum(numbers)
"""
    with (
        serving(EXAMPLES / "interpreter", "--no-access-log") as port,
        opened(f"http://127.0.0.1:{port}/", tmp_path / "profile") as page,
    ):

        def is_free() -> bool:
            return not page.run("document.getElementById('run').disabled")

        def run(text: str) -> None:
            # The last event of a cell is shown before the cell ends, and clicks of a disabled
            # button have no effect.
            eventually(is_free)
            page.run(f"code.value = {json.dumps(text)}; document.getElementById('run').click()")

        def kinds() -> list[str]:
            names = page.run(f"[...{shown}.children].map((each) => each.className || each.tagName)")
            assert isinstance(names, list)
            return names

        status = "document.getElementById('status').innerText"
        eventually(lambda: page.run(status) == "Python is ready.")
        page.run(uploaded)
        eventually(lambda: page.run(status) == "The file is /data/numbers.csv.")
        run(plot)
        eventually(is_free)
        found = page.run(f"{shown}.innerText")
        assert kinds() == ["code", "stdout", "IMG", "result"], found
        assert page.run(f"{shown}.querySelector('.stdout').innerText") == "<b><b>\n"
        assert page.run(f"{shown}.querySelector('.result').innerText") == "6"
        eventually(lambda: page.run(f"{shown}.querySelector('img').naturalWidth") > 100)
        run("print('begun')\nwhile True: pass")
        eventually(lambda: kinds() == ["code", "stdout"])  # while the cell runs
        eventually(lambda: kinds() == ["code", "stdout", "error", "note"])
        assert "interrupted after 60 s" in page.run(f"{shown}.lastElementChild.innerText")
        run("print('begun')\nwhile True: pass")
        eventually(lambda: kinds() == ["code", "stdout"])
        page.run("document.getElementById('interrupt').click()")
        eventually(lambda: kinds() == ["code", "stdout", "error"])
        run("import os; os._exit(3)")
        eventually(lambda: kinds() == ["code", "note"])
        run("numbers")
        eventually(lambda: kinds() == ["code", "error"])


def test_packages_are_installed_from_an_index_of_the_host(
    tmp_path: Path, copied_cache: None
) -> None:
    """Build an image first: the one in the cache may be of an older version of microvm."""
    wheels, folder = str(tmp_path / "six"), EXAMPLES / "packages"
    run("-m", "pip", "download", "-q", "--no-deps", "--dest", wheels, "six", folder=tmp_path)
    *_, last = run("install.py", wheels, "six", folder=folder)
    assert last.startswith("Successfully installed six-")
    (command,) = re.findall(
        r"^    (microvm (?:.*\\\n)*.*)", (folder / "README.md").read_text(), re.M
    )
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        try:
            command = command.replace("\\\n", "").replace(":8080 ", f":{server.server_port} ")
            *_, last = run("-m", *shlex.split(command), folder=folder)
        finally:
            server.shutdown()
    assert last.startswith("Successfully installed six-")


@pytest.mark.parametrize(("how", "different"), [("anew", 2), ("as it is", 1)])
async def test_process_reseeds_its_generators_in_each_clone(how: str, different: int) -> None:
    text = (ROOT / "docs/security.md").read_text()
    (hook,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    async with MicroVM("python") as vm:
        await vm.write_file("/run/draws.py", hook + DRAWS)
        await vm.run(["sh", "-c", START], check=True)
        async with await vm.fork(2) as forks:
            asked = [await fork.run(["sh", "-c", ASK, "ask", how], text=True) for fork in forks]
    for drawn in zip(*(done.stdout.split() for done in asked), strict=True):
        assert len(set(drawn)) == different

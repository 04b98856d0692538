"""Steps of a new user on a distribution, with wheels alone, run by its own Python.

python3 newcomer.py WHEELS    prints the results as JSON
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: The only variable of microvm that a new user sets, on an emulated system.
PATIENCE = "MICROVM_PATIENCE"

PROGRAM = """
import asyncio
from microvm import MicroVM, Pool

async def main():
    async with MicroVM() as vm:
        await vm.write_file("/srv/a", b"42")
        assert (await vm.run(["cat", "/srv/a"], check=True)).stdout == b"42"
        async with await vm.fork(2) as forks:
            for fork in forks:
                assert (await fork.run(["cat", "/srv/a"], check=True)).stdout == b"42"
    async with Pool(2) as pool:
        got = [each.result().stdout async for each in pool.map(["echo", str(n)] for n in range(3))]
        assert got == [b"0\\n", b"1\\n", b"2\\n"]

asyncio.run(main())
"""


class Newcomer:
    """A new user with a home and the wheels.

    :ivar took: duration of each step in seconds.
    :ivar variables: the variables that the new user has set.
    """

    def __init__(self, home: Path, wheels: str) -> None:
        self.home = home
        self.wheels = wheels
        self.took: dict[str, float] = {}
        self.variables = {name: text for name, text in os.environ.items() if name == PATIENCE}

    def say(self, *words: str, given: str = "") -> str:
        """Run a command in the home, and return its output.

        :raises SystemExit: the command failed; the message contains its output.
        """
        path = f"{self.home}/env/bin:{os.environ['PATH']}"
        done = subprocess.run(
            words,
            input=given,
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": path, "LANG": "C.UTF-8", **self.variables},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def do(self) -> None:
        """Run all steps in order, and check each result."""
        for name, step in STEPS.items():
            begun = time.monotonic()
            step(self)
            self.took[name] = round(time.monotonic() - begun, 1)

    def install(self) -> None:
        """Install the wheels without a network."""
        self.say(sys.executable, "-m", "venv", "env")
        index = ("--no-index", "--find-links", self.wheels)
        self.say("env/bin/pip", "install", "--quiet", *index, "microvm-proto[vm,guest]")

    def hello(self) -> None:
        """Run the first machine on this distribution."""
        assert self.say("microvm", "run", "--", "echo", "hello") == "hello\n"

    def diagnose(self) -> None:
        """Check that `microvm doctor` finds no fault."""
        assert json.loads(self.say("microvm", "doctor", "--json"))["works"]

    def program(self) -> None:
        """Use the Python API."""
        self.say("env/bin/python", "-c", PROGRAM)

    def files(self) -> None:
        """Copy a file into a machine, and another out of it."""
        (self.home / "in").write_text("42")
        self.say("microvm", "run", "--copy", "in", "--collect", "out", "--", "cp", "in", "out")
        assert (self.home / "out").read_text() == "42"

    def snapshot(self) -> None:
        """Save a machine, and start another from its snapshot."""
        self.say("microvm", "run", "--save", "kept", "--", "sh", "-c", "echo 42 >/srv/a")
        assert self.say("microvm", "run", "--from", "kept", "--", "cat", "/srv/a") == "42\n"

    def jobs(self) -> None:
        """Run lines, each in a machine of its own."""
        lines = self.say("microvm", "map", "-", given="echo 1\necho 2\n").splitlines()
        assert [json.loads(line)["stdout"] for line in lines] == ["1\n", "2\n"]

    def system(self) -> dict[str, Any]:
        """Return the properties of this distribution."""
        found = {
            each["check"]: each["text"]
            for each in json.loads(self.say("microvm", "doctor", "--json"))["checks"]
        }
        layers = json.loads(self.say("microvm", "confinement", "--json"))["layers"]
        absent = [each["layer"] for each in layers if not each["holds"]]
        tools = re.findall(r"(\S+) \(", found["tools"]) if "not installed" in found["tools"] else []
        accelerator = re.search(r"under (\w+)$", found["machine"])
        return {
            "Python": ".".join(map(str, sys.version_info[:3])),
            "QEMU": found["qemu"].split()[1],
            "accelerator": accelerator[1] if accelerator else found["machine"],
            "absent layers": sorted(absent),
            "absent tools": sorted(tools),
        }


STEPS: dict[str, Callable[[Newcomer], None]] = {
    "install": Newcomer.install,
    "a first hello": Newcomer.hello,
    "doctor": Newcomer.diagnose,
    "a program": Newcomer.program,
    "files": Newcomer.files,
    "a snapshot": Newcomer.snapshot,
    "map": Newcomer.jobs,
}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        newcomer = Newcomer(Path(folder), sys.argv[1])
        newcomer.do()
        print(json.dumps({**newcomer.system(), "took": newcomer.took}))

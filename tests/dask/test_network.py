"""Tests of batches on hosts that are network namespaces, which require root, with a worker each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from tests.support.polling import eventually
from tests.support.processes import ObservedProcess, children, program

from microvm.images import Image

JOBS = 1000
HOSTS = 3
PORT = 8786
QUICK = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s"}

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="takes root, and ip"),
]


@dataclass
class NetworkHost:
    """A network namespace, and the processes that were started in it."""

    name: str
    address: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def ip(self, *arguments: str) -> None:
        """Change the network of the host."""
        subprocess.run(["ip", "-n", self.name, *arguments], check=True)

    def python(self, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
        """Start a Python module on the host; it is killed afterwards."""
        inside = ["nsenter", f"--net=/run/netns/{self.name}", sys.executable, "-m", *arguments]
        process = subprocess.Popen(inside, env={**os.environ, **QUICK}, **options)  # type: ignore[call-overload]
        self.processes.append(process)
        return process  # type: ignore[no-any-return]

    def below(self) -> list[int]:
        """Return all descendants of the host's process."""
        found = [process.pid for process in self.processes]
        for pid in found:
            found += children(pid)
        return found

    def machines(self) -> list[ObservedProcess]:
        """Return the QEMU processes on the host."""
        return [ObservedProcess.of(pid) for pid in self.below() if program(pid).startswith("qemu")]

    def kill(self) -> None:
        """Kill all processes but the machines.

        Those that would restart others are stopped first.
        """
        for process in self.processes:
            process.send_signal(signal.SIGSTOP)
        for pid in reversed(self.below()):
            if not program(pid).startswith("qemu"):
                ObservedProcess.of(pid).kill()
        for process in self.processes:
            process.wait()


@pytest.fixture
def hosts(image: Image) -> Iterator[list[NetworkHost]]:
    """A host with a scheduler, and others with a worker of two threads each."""
    del image
    with ExitStack() as stack:
        found = []
        for number in range(HOSTS + 1):
            host = NetworkHost(f"microvm-{os.getpid()}-{number}", f"10.77.0.{number + 1}")
            subprocess.run(["ip", "netns", "add", host.name], check=True)
            stack.callback(subprocess.run, ["ip", "netns", "del", host.name], check=True)
            stack.callback(host.kill)
            host.ip("link", "set", "lo", "up")
            found.append(host)
        head, *workers = found
        head.ip("link", "add", "net0", "type", "bridge")
        head.ip("address", "add", f"{head.address}/24", "dev", "net0")
        head.ip("link", "set", "net0", "up")
        for number, host in enumerate(workers):
            port = f"port{number}"
            host.ip("link", "add", "net0", "type", "veth", "peer", port, "netns", head.name)
            head.ip("link", "set", port, "master", "net0", "up")
            host.ip("address", "add", f"{host.address}/24", "dev", "net0")
            host.ip("link", "set", "net0", "up")
        listen = ["--host", head.address, "--port", str(PORT), "--no-dashboard"]
        head.python("distributed.cli.dask_scheduler", *listen)
        for host in workers:
            here = ["--host", host.address, "--nthreads", "2", "--no-dashboard"]
            host.python("distributed.cli.dask_worker", f"tcp://{head.address}:{PORT}", *here)
        yield found


def test_hosts_that_are_killed_or_cut_off_cost_no_outcome(hosts: list[NetworkHost]) -> None:
    head, killed, cut_off, left = hosts
    results = head.python(
        *("microvm", "map", "-", "--scheduler", f"tcp://{head.address}:{PORT}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert results.stdin is not None
    assert results.stdout is not None
    results.stdin.write(b"".join(b"echo %d\n" % number for number in range(1, JOBS + 1)))
    results.stdin.close()
    found, lost = [], []
    with results.stdout as lines:
        for line in lines:
            found.append(json.loads(line))
            if len(found) == JOBS // 10:
                eventually(killed.machines)
                lost += killed.machines()
                killed.kill()
            if len(found) == JOBS // 3:
                eventually(cut_off.machines)
                lost += cut_off.machines()
                cut_off.ip("link", "set", "net0", "down")
    assert results.wait() == 0
    assert sorted(each["line"] for each in found) == list(range(1, JOBS + 1))
    assert all(each["stdout"] == f"{each['line']}\n" for each in found)
    assert lost
    eventually(lambda: not any(each.exists() for each in lost))
    eventually(lambda: not (cut_off.machines() or left.machines()))

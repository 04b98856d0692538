"""A process that answers questions, in a machine and in all clones of the machine."""

from __future__ import annotations

from microvm.errors import MicroVMError
from microvm.machine.machine import MicroVM

# Shell command that keeps random data in memory. The guest then uses about 64 MiB, as if a larger
# program ran in it.
_FILL = "head -c 32m /dev/urandom >/dev/shm/fill"
_FIFOS = "mkfifo /run/question /run/answer"
_SHELL = "while read n </run/question; do echo $((n * n)) >/run/answer; done"
_PYTHON = """
import decimal, fractions, json, random, re, statistics
while True:
    with open("/run/question") as question:
        n = json.load(question)
    with open("/run/answer", "w") as answer:
        json.dump(n * n, answer)
"""
_QUESTION = "echo 12 >/run/question; cat /run/answer"
_ANSWER = b"144"


async def start(vm: MicroVM, *, python: bool) -> None:
    """Start the process that answers questions: Python with some imported modules, or a shell."""
    await _run(vm, f"{_FILL}; {_FIFOS}")
    waits = ["python3", "-c", '"$1"'] if python else ["sh", "-c", '"$1"']
    command = f"{' '.join(waits)} >/dev/null 2>&1 </dev/null &"
    await vm.run(["sh", "-c", command, "sh", _PYTHON if python else _SHELL])
    await ask(vm)


async def ask(vm: MicroVM) -> None:
    """Ask the process in the machine a question, and check its answer."""
    if (answer := (await _run(vm, _QUESTION)).strip()) != _ANSWER:
        raise MicroVMError(f"the process in the guest gave a wrong answer: {answer!r}")


async def _run(vm: MicroVM, script: str) -> bytes:
    done = await vm.run(["sh", "-c", script], timeout=60)
    if done.returncode != 0:
        raise MicroVMError(f"{script}: status {done.returncode}", detail=done.stderr.decode())
    return done.stdout

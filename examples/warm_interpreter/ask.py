"""Forks a machine with a started interpreter; each of ten forks answers another question."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from microvm import MicroVM

INTERPRETER = Path(__file__).with_name("interpreter.py")
START = """
python3 /run/interpreter.py </dev/null >/run/interpreter.log 2>&1 &
until [ -p /run/questions ]; do sleep 0.1; done
"""
FORKS = 10


async def start(vm: MicroVM) -> None:
    """Start the interpreter in a machine, and ask the first question, which takes longest."""
    await vm.put(INTERPRETER, "/run/interpreter.py")
    await vm.run(["sh", "-c", START], check=True)
    await ask(vm, "print(statistics.mean([random.random()]))")


async def ask(vm: MicroVM, question: str) -> str:
    """Return the output of the interpreter in a machine for a question."""
    command = ["sh", "-c", "cat >/run/questions; exec cat /run/answers"]
    return (await vm.run(command, input=question, text=True, check=True)).stdout


async def main() -> None:
    """Prepare a machine, fork it, and ask each fork a question."""
    async with MicroVM("python") as vm:
        await start(vm)
        begun = time.monotonic()
        async with await vm.fork(FORKS) as forks:
            questions = (f"print({number} ** 2, random.random())" for number in range(FORKS))
            for answer in await asyncio.gather(*map(ask, forks, questions)):
                print(answer, end="")
            print(f"{1000 * (time.monotonic() - begun):.0f} ms from the fork to the last answer")


if __name__ == "__main__":
    asyncio.run(main())

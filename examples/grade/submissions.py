"""Generated programs, as a class of strangers might submit them, and their expected verdicts.

The exercise is to print the sum of the numbers in the input.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

READ = (
    "numbers = [int(word) for word in input().split()]",
    "import sys\nnumbers = list(map(int, sys.stdin.read().split()))",
    "numbers = []\nfor word in input().split():\n    numbers.append(int(word))",
)
ADD = (
    "total = sum(numbers)",
    "total = 0\nfor number in numbers:\n    total += number",
    "import functools, operator\ntotal = functools.reduce(operator.add, numbers)",
    "def add(some):\n    return some[0] + add(some[1:]) if some else 0\ntotal = add(numbers)",
)
ADD_WRONGLY = (
    "total = sum(numbers[1:])",
    "total = max(numbers)",
    "total = sum(numbers) + 1",
    "total = sum(numbers) / 0",
    "total = summe(numbers)",
    "total =",
)
PRINT = ("print(total)", "print(f'{total}')", "import sys\nsys.stdout.write(str(total))")

HOSTILE = (
    # Use up all memory, files and processes.
    "hoard = []\nwhile True:\n    hoard.append(bytearray(1 << 20))",
    "hoard = [open('/dev/null') for _ in range(1 << 20)]",
    "import os\nwhile os.fork():\n    pass",
    # Kill the runner, all processes, and the machine.
    "import os\nos.kill(os.getppid(), 9)",
    "import os\nos.kill(-1, 9)",
    "open('/proc/sysrq-trigger', 'w').write('c')",
    # Cheat: guess the answer, write to the FIFO, and search for the answer.
    "print('right')",
    "open('/run/answers', 'w').write('42')",
    "import os\nos.system('cat /proc/*/environ /proc/*/cmdline /run/*; ls -R /tmp /root')",
    "import sys\nframe = sys._getframe()\nwhile frame:\n    print(frame.f_locals.get('request'))\n"
    "    frame = frame.f_back",
)
SLOW = (
    "while True:\n    pass",
    "import time\ntime.sleep(1e6)",
    "import os\nos.fork()\nos.setsid()\nwhile True:\n    pass",
)
LOUD = (
    "while True:\n    print('garbage' * 100)",
    "import os\nwhile True:\n    os.write(1, os.urandom(1000))",
)

#: Percentages of the programs, their verdicts, and the programs.
KINDS = (
    (70, "right", ["\n".join(parts) for parts in product(READ, ADD, PRINT)]),
    (15, "wrong", ["\n".join(parts) for parts in product(READ, ADD_WRONGLY, PRINT)]),
    (10, "wrong", HOSTILE),
    (1, "too slow", SLOW),
    (4, "too long", LOUD),
)


@dataclass(frozen=True, slots=True)
class Submission:
    """A program, its input, and the expected result.

    :ivar given: Input of the program.
    :ivar expected: Output of a right program.
    :ivar verdict: Verdict that the grader must give.
    """

    program: str
    given: str
    expected: str
    verdict: str


def generate(count: int) -> Iterator[Submission]:
    """Generate submissions; the same count gives the same submissions."""
    chance = random.Random(count)  # noqa: S311
    weights = [weight for weight, _, _ in KINDS]
    for number in range(count):
        _, verdict, programs = chance.choices(KINDS, weights)[0]
        program = f"# submission {number}\n{chance.choice(programs)}\n"
        numbers = [chance.randrange(1000) for _ in range(10)]
        yield Submission(program, " ".join(map(str, numbers)), str(sum(numbers)), verdict)

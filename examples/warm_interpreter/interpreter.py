"""An interpreter that waits in a guest with imported modules, and answers questions.

A question is Python code, read from one FIFO. The answer is the output of the code or its
traceback, and is written to another FIFO. Each question runs in a new child process. So it leaves
nothing behind, and gets different random numbers, because Python seeds `random` in a child process.
"""

from __future__ import annotations

import os
import random
import statistics
import traceback
from contextlib import redirect_stdout
from pathlib import Path

QUESTIONS, ANSWERS = Path("/run/questions"), Path("/run/answers")

#: The names that a question can use; they are imported once.
KNOWN = {"random": random, "statistics": statistics}


def answer(question: str) -> None:
    """Run a question, and write its output."""
    with ANSWERS.open("w") as answers, redirect_stdout(answers):
        try:
            exec(question, dict(KNOWN))  # noqa: S102 - the question is code
        except BaseException:
            traceback.print_exc(file=answers)


def main() -> None:
    """Answer questions forever."""
    os.mkfifo(ANSWERS)
    os.mkfifo(QUESTIONS)
    while True:
        question = QUESTIONS.read_text()
        if child := os.fork():
            os.waitpid(child, 0)
        else:
            answer(question)
            os._exit(0)


if __name__ == "__main__":
    main()

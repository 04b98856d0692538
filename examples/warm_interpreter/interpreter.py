"""An interpreter that waits in a guest: it has imported what is needed, and answers questions.

A question is a piece of Python, written to one FIFO; what it prints, or its traceback, is the
answer, and is read from another. Each is answered by a child of its own, which leaves nothing
behind and has random numbers of its own: in the child of a fork, Python seeds `random` anew.
"""

from __future__ import annotations

import os
import random
import statistics
import traceback
from contextlib import redirect_stdout
from pathlib import Path

QUESTIONS, ANSWERS = Path("/run/questions"), Path("/run/answers")

#: What a question can use, imported once for all.
KNOWN = {"random": random, "statistics": statistics}


def answer(question: str) -> None:
    """Run a question, and write what it prints."""
    with ANSWERS.open("w") as answers, redirect_stdout(answers):
        try:
            exec(question, dict(KNOWN))  # noqa: S102 - that is what it is for
        except BaseException:
            traceback.print_exc(file=answers)


def main() -> None:
    """Answer questions for ever."""
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

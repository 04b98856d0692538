"""Check the English of docstrings, comments and documents for habits that make it hard to read.

python -m tests.project.prose [FILE]...

Two habits can be found by a program. CONTRIBUTING.md describes them, and the others, which take a
reader.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.captured import captured

REPOSITORY = Path(__file__).parents[2]

#: Generated files, whose text comes from a schema or from the generator, and schemas for tests.
GENERATED = re.compile(
    r"/codec\.py$|wire/(?:files|interpreter|interpreter_state|state|streams|stream_state|transfer)\.py$"
    r"|(?:protocol|files|streams)\.h$|(?:SPEC|FILES|STREAMS|INTERPRETER)\.md$|/golden/|^tests/.*\.toml$"
)

#: The blocks of code in a document: fenced or indented.
_CODE = re.compile(r"```.*?```|^ {4}[^\n]*$", re.DOTALL | re.MULTILINE)

#: The rules: a pattern, and the advice that is printed where it matches.
RULES = (
    (
        re.compile(r"(?:^|(?<=[.!?] ))(?:What|Who|Whoever|Of) (?!else\?)[^.!?]*(?:[.!](?= |$)|$)"),
        "begins with What, Who or Of: begin with the noun that the sentence is about",
    ),
    (
        re.compile(
            r"\b(?!(?:it|that|there|here|what|who|where|let|he|she)'s)\w+'s"
            r"(?=[.,;:)]|$| (?:and|or|as|of|in|is|are|was|were|has|have|that|which"
            r"|to|for|by|with|from|on|at) )"
            r"|\b(?:ours|theirs|hers)\b",
            re.IGNORECASE,
        ),
        "a possessive without its noun: repeat the noun",
    ),
)


class ProseText(NamedTuple):
    """A paragraph of a docstring, a comment or a document, on one line.

    :ivar line: the number of its first line, from 1.
    """

    line: int
    text: str


def main(paths: list[str]) -> int:
    """Print each match of a rule; return the exit status, 1 if there was any."""
    found = 0
    for path in [Path(path) for path in paths] or tracked():
        for text in texts(path):
            for pattern, advice in RULES:
                for match in pattern.finditer(text.text):
                    print(f"{path}:{text.line}: {advice}: {match[0][:80]!r}")
                    found += 1
    return 1 if found else 0


def tracked() -> list[Path]:
    """Return the project's files that the rules apply to."""
    listed = captured(
        ["git", "ls-files", "*.py", "*.c", "*.h", "*.md", "*.toml"], cwd=REPOSITORY, check=True
    ).stdout.split()
    return [Path(name) for name in listed if not GENERATED.search(name)]


def texts(path: Path) -> Iterator[ProseText]:
    """Yield the paragraphs of a file, by its suffix."""
    source = path.read_text()
    if path.suffix == ".py":
        yield from _docstrings(source)
        yield from _comments(source)
    elif path.suffix in {".c", ".h"}:
        for match in re.finditer(r"/\*+(.*?)\*/", source, re.DOTALL):
            lines = [re.sub(r"^\s*\*? ?", "", line) for line in match[1].splitlines()]
            yield from _paragraphs(source.count("\n", 0, match.start()) + 1, lines)
    elif path.suffix == ".md":
        yield from _paragraphs(1, _CODE.sub(_blank, source).splitlines())
    elif path.suffix == ".toml":
        for number, line in enumerate(source.splitlines(), 1):
            if documented := re.match(r"(?:doc = \"|# )(.*?)\"?$", line):
                yield ProseText(number, documented[1])


def _docstrings(source: str) -> Iterator[ProseText]:
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            # Also the strings that document a constant, below its assignment.
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield from _paragraphs(statement.lineno, value.value.splitlines())


def _comments(source: str) -> Iterator[ProseText]:
    lines: list[str] = []
    start = previous = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        row = token.start[0]
        if row != previous + 1:
            yield from _paragraphs(start, lines)
            lines, start = [], row
        lines.append(token.string.strip("#: "))
        previous = row
    yield from _paragraphs(start, lines)


def _paragraphs(start: int, lines: list[str]) -> Iterator[ProseText]:
    """Join the lines of each paragraph; a list item and a field begin one of their own."""
    paragraph: list[str] = []
    begin = start
    for number, line in enumerate([*lines, ""], start):
        stripped = line.strip()
        opens = re.match(r"[-*|] |\d+\. |#+ |:\w+", stripped)
        if (not stripped or opens) and paragraph:
            yield ProseText(begin, _plain(" ".join(paragraph)))
            paragraph = []
        if stripped:
            begin = begin if paragraph else number
            paragraph.append(re.sub(r"^(?:[-*|] |\d+\. |#+ |:\w+[^:]*: ?)", "", stripped))


def _plain(text: str) -> str:
    return re.sub(r"``?[^`]*``?|:\w+:`[^`]*`", "`code`", text)


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

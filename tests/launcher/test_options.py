"""Fuzzing of the launcher's options under the sanitizers, against a model of their grammar."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from fuzz.search import SETTINGS
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.confined import NO_CONTROLLER, SYSTEM, USAGE, build, confined

LAYERS = "user pid net ipc uts mount cgroup ids limits landlock seccomp".split()
LIMITS = "file-size address-space open-files threads".split()
INT, UNSIGNED, LONG = 2**31 - 1, 2**32 - 1, 2**63 - 1
UID = UNSIGNED - 1 - 2**22


def is_number(text: str, least: int, most: int) -> bool:
    return bool(re.fullmatch("[0-9]+", text)) and least <= int(text) <= most


def is_limit(text: str) -> bool:
    name, equals, value = text.partition("=")
    return name in LIMITS and equals == "=" and is_number(value, 0, LONG)


def is_path(text: str) -> bool:
    return text.startswith("/") and ".." not in text.split("/")


GRAMMAR = {
    "--controller": lambda text: is_number(text, 1, INT),
    "--cgroup": lambda text: is_number(text, 0, INT),
    "--file": lambda text: is_number(text, 0, INT),
    "--writable": lambda text: is_number(text, 0, INT),
    "--uid": lambda text: is_number(text, 1, UID),
    "--group": lambda text: is_number(text, 0, UNSIGNED - 1),
    "--without": LAYERS.__contains__,
    "--limit": is_limit,
    "--read": is_path,
    "--device": is_path,
}
MOST = dict.fromkeys(["--read", "--device", "--file", "--writable"], 64)

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
edges = [end + more for end in (0, INT, UNSIGNED - 1, UID, LONG) for more in (0, 1)]
numbers = st.integers(-1, 2**70) | st.sampled_from(edges)
paths = st.lists(st.sampled_from(["usr", "..", ".", "", "...", "..a"]), max_size=4)
values = (
    st.sampled_from(LAYERS)
    | numbers.map(str)
    | st.builds("{}={}".format, st.sampled_from(LIMITS) | words, numbers | words)
    | paths.map("/".join).map("/{}".format)
    | words
)
names = st.sampled_from(sorted(GRAMMAR))
pairs = st.tuples(names, values)
others = st.tuples(words.filter(lambda word: word != "--"), values)
right = pairs.filter(lambda pair: GRAMMAR[pair[0]](pair[1]))
lines = st.lists(right, max_size=8) | st.lists(right | pairs | others, max_size=4)
many = right.flatmap(lambda pair: st.sampled_from([[pair] * 64, [pair] * 65]))


def refused(options: Sequence[tuple[str, str]], rest: Sequence[str]) -> str:
    """Return the text with which the launcher refuses a command line."""
    count = dict.fromkeys(GRAMMAR, 0)
    for name, value in options:
        if name not in GRAMMAR or not GRAMMAR[name](value):
            return f"wrong option: {name}: {USAGE}"
        count[name] += 1
        if count[name] > MOST.get(name, len(options)):
            return f"wrong option: {name}: {USAGE}"
    if rest and rest[0] != "--":
        return f"wrong option: {rest[0]}: {USAGE}"
    return NO_CONTROLLER if rest[1:] else f"missing program: {USAGE}"


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launcher, compiled with ASan and UBSan."""
    return build(tmp_path_factory.mktemp("sanitized"), "sanitized", "gcc")


@pytest.mark.thorough
@given(options=lines | many, rest=st.sampled_from([[], ["--"], ["--", "/gone"], ["--read"]]))
@settings(SETTINGS, max_examples=100)
def test_random_options_are_parsed_without_a_fault(
    sanitized: Path, options: Sequence[tuple[str, str]], rest: Sequence[str]
) -> None:
    """The last option names a wrong controller, so that nothing is started."""
    ours, theirs = socket.socketpair()
    line = [word for option in [*options, ("--controller", "1")] for word in option]
    with ours, theirs:
        fd = theirs.fileno()
        command = [str(sanitized), "--status", str(fd), *line, *rest]
        result = subprocess.run(
            command, pass_fds=[fd], capture_output=True, timeout=60, check=False
        )
        said = ours.recv(10000).decode()
    assert (result.stdout, result.stderr, result.returncode) == (b"", b"", 125)
    assert said == f"failed {refused(options, rest)}\n"


@pytest.mark.parametrize("layers", [["user", "pid", "net", "ipc", "uts", "mount", "ids"], ["ids"]])
def test_layers_are_applied_without_a_sanitizer_error(
    sanitized: Path, layers: Sequence[str]
) -> None:
    """All layers but the filter, which would refuse the calls of the sanitizers."""
    options = [*SYSTEM, "--without", "seccomp", "--limit", "open-files=64"]
    with Path(__file__).open("rb") as file:
        number = file.fileno()
        options += ["--file", str(number)]
        result = confined(sanitized, options, ["/bin/echo", "here"], descriptors=[number])
    assert (result.output, result.code, result.failure) == ("here\n", 0, "")
    assert all(result.layers[layer] for layer in layers)

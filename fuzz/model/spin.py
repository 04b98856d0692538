"""Runs Spin on a model: searches all states for a fault, or simulates a run."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.captured import captured
from tests.support.emitted import emitted

from microvm_proto.schema import Schema

from .events import ModelEvent, events

PROTOCOL = Path(__file__).parents[2] / "protocol"

ENVIRONMENTS = {"sandboxd": "environment.pml", "files": "transfer.pml"}
"""The schemas that have a model, each with the file of the model's environment."""

TRACES = "traces.pml"
"""Name of the file by which recorded conversations drive the model of sandboxd."""

_DEPTHS = (60, 120, 250, 500, 1000, 1_000_000)
"""Maximum depths of the searches for a short counterexample to a property in temporal logic."""

_TRACE_LIMITS = ("-m400000", "-w18")
"""The depth and the size of the hash table of a search for recorded conversations. It has few
states, and most of its time would be the initialization of larger tables."""

_HASH_BITS = 23
_MEGABYTES = 2000


@dataclass(frozen=True, slots=True)
class Check:
    """A search of all states of a model, or of one part of it.

    :ivar part: The part of the model of sandboxd that the check searches: PORT, REQUESTS, COMMANDS,
        BESIDE or TURNS; empty for other models.
    :ivar words: The properties in words.
    :ivar claim: Name of the property in temporal logic; empty for the assertions.
    :ivar channel: Maximum number of messages in each channel.
    """

    name: str
    part: str
    words: str
    claim: str = ""
    channel: int = 2
    schema: str = "sandboxd"

    @property
    def options(self) -> tuple[str, ...]:
        """The options for Spin; checks with the same options share a program."""
        part = [f"-DPART={self.part}"] if self.part else []
        liveness = ["-DLIVENESS"] if self.claim else []
        return (*part, f"-DCHANNEL={self.channel}", *liveness)

    @property
    def source(self) -> Path:
        """The file of the schema."""
        return PROTOCOL / f"{self.schema}.toml"


ASSERTIONS = (
    "no side refuses a message, no answer lacks its request, no counter exceeds its maximum, "
    "no deadlock"
)

RULES = (
    "no command runs that may not run beside another, no kill of one command ends another, no "
    "processes are kept while a command runs"
)

CHECKS = (
    Check("port", "PORT", ASSERTIONS, channel=3),
    Check("requests", "REQUESTS", ASSERTIONS),
    Check("commands", "COMMANDS", ASSERTIONS),
    Check("hello", "PORT", "each `hello` is answered", "hello"),
    Check("shutdown", "PORT", "each `shutdown` is answered", "shutdown"),
    Check("answers", "REQUESTS", "each request is answered", "request"),
    Check("kill", "COMMANDS", "a killed command is answered without credit", "kill"),
    Check("terminate", "COMMANDS", "a terminated command exits without credit", "terminate"),
    Check("responses", "COMMANDS", "each request is answered", "request"),
    Check("beside", "BESIDE", f"{ASSERTIONS}, {RULES}"),
    Check("turns", "TURNS", f"{ASSERTIONS}, no output waits for two frames of another command"),
    Check("replies", "BESIDE", "each request is answered", "request"),
    Check("kill one", "TURNS", "a killed command is answered beside another one", "kill_one"),
    Check("transfer", "", ASSERTIONS, channel=4, schema="files"),
    Check("outcome", "", "each request is answered", "outcome", channel=4, schema="files"),
)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of a check.

    :ivar fault: The property that does not hold, in words; empty if all hold.
    :ivar events: The counterexample.
    :ivar megabytes: Memory that the search has used.
    """

    fault: str
    events: tuple[ModelEvent, ...]
    states: int
    megabytes: float

    def __str__(self) -> str:
        return "\n    ".join([self.fault or "no fault", *map(str, self.events)])


class Spin:
    """The model of a schema in a folder, and the programs that Spin and gcc make from it."""

    def __init__(
        self, schema: Schema, folder: Path, change: tuple[str, str, str] | None = None
    ) -> None:
        """Write the model into the folder.

        :param change: Name of a file of the model, a text that occurs in it once, and another text
            that replaces it.
        """
        self._schema = schema
        self._folder = folder
        self._built: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self._name = ENVIRONMENTS[schema.name]
        files = {
            **emitted("promela", schema, f"{schema.name}.pml"),
            **{name: (PROTOCOL / name).read_text() for name in (self._name, TRACES)},
        }
        if change:
            name, old, new = change
            if files[name].count(old) != 1:
                raise ValueError(f"{name} does not contain the text once: {old}")
            files[name] = files[name].replace(old, new)
        for name, text in files.items():
            (folder / name).write_text(text)

    def check(self, check: Check) -> SearchResult:
        """Search all states."""
        # Optimizing takes longer than it saves, except in the larger programs with a claim.
        self._build(check.options, *(["-O1"] if check.claim else ["-O0", "-DSAFETY"]))
        return self._search(check, _DEPTHS[-1])

    def find(self, check: Check) -> SearchResult:
        """Search for a fault with a short counterexample."""
        self._build(check.options, "-O0", *([] if check.claim else ["-DSAFETY", "-DBFS"]))
        for depth in _DEPTHS if check.claim else ():
            found = self._search(check, depth)
            if found.fault:
                return found
        return self._search(check)

    def simulate(self, part: str, seed: int, steps: int) -> Iterator[ModelEvent]:
        """Yield the events of a random run."""
        command = ["spin", f"-n{seed}", f"-u{steps}", "-DSIMULATION", f"-DPART={part}"]
        yield from events(self._schema, self._run(*command, self._name))

    def follow(self, traces: str, ids: int) -> list[int]:
        """Search for runs of the model with recorded conversations.

        :param traces: Conversations in the format that traces.pml reads.
        :param ids: Number of command ids that the model has.
        :return: For each conversation, how many of its first events a run of the model can contain.
        """
        # The more commands run, the more messages can be sent and not yet read. A channel of Spin
        # holds at most 255 messages.
        channel = min(255, 30 + ids)
        options = ("-DPART=TRACES", f"-DCHANNEL={channel}", f"-DIDS={ids}")
        self._build(options, "-O0", "-DSAFETY", "-DVECTORSZ=16384")
        (self._folder / "traces").write_text(traces)
        said = self._run("./pan", *_TRACE_LIMITS)
        if "Search not completed" in said:
            raise RuntimeError(f"the search for recorded conversations did not complete:\n{said}")
        return [int(number) for number in re.findall(r"^trace \d+: (\d+)$", said, re.M)]

    def _build(self, options: tuple[str, ...], *flags: str) -> None:
        if self._built == (options, flags):
            return
        self._run("spin", "-a", *options, self._name)
        limits = [f"-DMEMLIM={_MEGABYTES}", "-DNOREDUCE"]
        self._run("gcc", "-w", *flags, *limits, "-o", "pan", "pan.c")
        self._built = options, flags

    def _search(self, check: Check, depth: int = 0) -> SearchResult:
        claim = ["-N", check.claim] if check.claim else []
        options = [*(["-a"] if claim else []), *([f"-m{depth}"] if depth else [])]
        said = self._run("./pan", *claim, *options, f"-w{_HASH_BITS}")
        trail = self._folder / f"{self._name}.trail"
        fault, found = "", ""
        if trail.exists():
            found = self._run("./pan", "-r", trail.name, *claim)
            words = re.search(r"^\s*fault: (.*)$", found, re.M)
            fault = words[1] if words else check.words
            trail.unlink()
        elif "Search not completed" in said:
            raise RuntimeError(f"the search of `{check.name}` did not complete:\n{said}")
        (states,) = re.findall(r"(\d+) states, stored", said)
        (megabytes,) = re.findall(r"(\S+)\ttotal actual memory", said)
        return SearchResult(
            fault, tuple(events(self._schema, found)), int(states), float(megabytes)
        )

    def _run(self, *command: str) -> str:
        run = captured(command, cwd=self._folder)
        if run.returncode:
            raise subprocess.CalledProcessError(run.returncode, command, run.stdout, run.stderr)
        return run.stdout

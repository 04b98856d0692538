"""Hypothesis strategies for the messages of our schemas, generated when they are needed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from hypothesis.strategies import SearchStrategy

from microvm_proto import backends
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Output

PROTOCOL = Path(__file__).parents[1] / "protocol"


class RandomMessages(Protocol):
    """A module that the backend `strategies` generates; see docs/protocol-tools.md."""

    MESSAGES: Mapping[str, SearchStrategy[Any]]
    FRAMES: Mapping[str, SearchStrategy[bytes]]
    Conversations: Any

    def __getattr__(self, message: str) -> Callable[..., SearchStrategy[Any]]: ...


@functools.cache
def random_messages(name: str) -> RandomMessages:
    """Return the strategies for a schema in the folder `protocol`, such as `sandboxd`."""
    schema = read_schema(PROTOCOL / f"{name}.toml")
    path = Path(f"random_{name}.py")
    (source,) = backends.find("strategies")(schema, Output("strategies", path, path.stem)).values()
    module = ModuleType(path.stem)
    exec(compile(source, path.name, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    return cast(RandomMessages, module)

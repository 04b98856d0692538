"""Text with parts that are only for some schemas."""

from __future__ import annotations

from collections.abc import Set

from microvm_proto.framing import Framing


def for_framing(template: str, framing: Framing) -> str:
    """Return a template without the parts that are for another framing: for other features."""
    return variant(template, framing.features)


def variant(template: str, features: Set[str]) -> str:
    """Return a template without the parts that are for other features.

    A part stands between the lines `@if NAMES` and `@end`, with or without an `@else`, and is there
    when one of the names is among the features.
    """
    kept: list[str] = []
    wanted = [True]
    for line in template.splitlines(keepends=True):
        match line.split():
            case ["@if", *choices]:
                wanted.append(wanted[-1] and not features.isdisjoint(choices))
            case ["@else"]:
                wanted[-1] = wanted[-2] and not wanted[-1]
            case ["@end"]:
                wanted.pop()
            case _ if wanted[-1]:
                kept.append(line)
    return "".join(kept)

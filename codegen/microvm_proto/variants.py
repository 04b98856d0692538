"""Templates of code, with sections that are kept only for schemas with certain features."""

from __future__ import annotations

from collections.abc import Set

from microvm_proto.framing import Framing


def variant(template: str, framing: Framing, more: Set[str] = frozenset()) -> str:
    """Return a template with only the sections whose features are in the framing or in `more`.

    A section begins with a line `@if NAMES` and ends with a line `@end`; a line `@else` may divide
    it. The text before `@else` is kept if at least one of the names is that of a feature,
    such as `crc16`; otherwise, the text after `@else` is kept.
    """
    features = framing.features | more
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

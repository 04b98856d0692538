"""Text with parts that are only for some framings."""

from __future__ import annotations

from microvm_proto.framing import Framing


def for_framing(template: str, framing: Framing) -> str:
    """Return a template without the parts that are for another framing.

    A part stands between the lines `@if NAMES` and `@end`, with or without an `@else`, and is for
    framings that have one of the names among their features.
    """
    kept: list[str] = []
    wanted = [True]
    for line in template.splitlines(keepends=True):
        match line.split():
            case ["@if", *choices]:
                wanted.append(wanted[-1] and not framing.features.isdisjoint(choices))
            case ["@else"]:
                wanted[-1] = wanted[-2] and not wanted[-1]
            case ["@end"]:
                wanted.pop()
            case _ if wanted[-1]:
                kept.append(line)
    return "".join(kept)

"""The names that people type: each may be the beginning of one, if it is of no other.

Only what leaves things as they are takes beginnings; what removes them takes whole names, or for
images the beginning of a digest. Nothing but the command line does: a program has whole names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from microvm.errors import ImageError, MicroVMError, SnapshotError
from microvm.suggestion import did_you_mean

if TYPE_CHECKING:
    import click

    from microvm_image.image import Image


def image_of(given: str | None) -> Image:
    """Return the image that `--image` names, or begins to; for those who name none the default.

    The default and a ready-made one are built if need be.

    :raises ImageError: there is none, and none can be built.
    """
    from microvm.progress import on_stderr
    from microvm_image import default, readymade

    with on_stderr() as report:
        if given is None:
            return default(report=report)
        return readymade.find(meant_image(given), report)


def meant_image(text: str) -> str:
    """Return what `microvm_image.image.find` takes, for the beginning of a tag or a name.

    A tag with a version is taken as it is: `python:3.1` never means `python:3.13`.

    :raises ImageError: it is the beginning of several, or of none; says which come near.
    """
    from microvm_image import readymade

    if "/" in text or text in readymade.IMAGES:
        return text
    try:
        return whole_image(text)
    except ImageError:
        known = _images()
        begun = {} if ":" in text else {each: known[each] for each in known if _begins(text, each)}
        if not begun:
            raise
        return _only(text, begun, "images", ImageError)


def whole_image(text: str) -> str:
    """Return a name, a tag or the beginning of a digest, which are of an image.

    :raises ImageError: it is none of these; says which come near.
    """
    from microvm_image.image import find

    try:
        find(text)
    except ImageError as error:
        if text and (hint := did_you_mean(text, _with_ready_made())):
            # A user who wrote a version wants that version, and no similar name has it, so both
            # hints are shown.
            error.hint = f"{hint} {error.hint}" if ":" in text else hint
        raise
    return text


def meant_snapshot(text: str) -> str:
    """Return the name of a snapshot, for it or its beginning; as it is, where it begins none.

    :raises SnapshotError: it is the beginning of several.
    """
    from microvm.start.snapshots import STORE

    if not text or STORE.path(text).exists():
        return text
    begun = {name: name for name in STORE.names() if _begins(text, name)}
    return _only(text, begun, "snapshots", SnapshotError) if begun else text


def may_be_image(word: str) -> bool:
    """Tell whether a word looks like the name of an image, or is one's up to a version."""
    return ":" in word or any(
        each == word or each.startswith((f"{word}:", f"{word}-")) for each in _with_ready_made()
    )


def _begins(text: str, name: str) -> bool:
    return bool(text) and name.startswith(text)


def _only(text: str, begun: Mapping[str, str], noun: str, kind: type[MicroVMError]) -> str:
    """Return a name, if all that begin so mean the same."""
    if len(set(begun.values())) > 1:
        message = f"{text} begins the names of several {noun}: {', '.join(sorted(begun))}"
        raise kind(message, hint="give more of it")
    return next(iter(begun))


def _images() -> dict[str, str]:
    """Return the names of images by their tags and by themselves."""
    from microvm_image import image as images
    from microvm_image import tags

    return {**tags.all_tags(), **{name: name for name in images.names()}}


def _with_ready_made() -> list[str]:
    from microvm_image import readymade

    return sorted({*(tag.removesuffix(":latest") for tag in _images()), *readymade.IMAGES})


def _snapshots() -> Iterable[str]:
    from microvm.start.snapshots import STORE

    return STORE.names()


def _templates() -> Iterable[str]:
    from microvm.start.template import STORE

    return STORE.names()


def _kernels() -> Iterable[str]:
    from microvm_image.kernel import compiled

    return [path.name for path in compiled.installed()]


def _machines() -> Iterable[str]:
    from microvm.supervisor.runtime import Runtime

    with Runtime() as runtime:
        return runtime.names()


_KINDS: Mapping[str, Callable[[], Iterable[str]]] = {
    "image": _with_ready_made,
    "snapshot": _snapshots,
    "template": _templates,
    "kernel": _kernels,
    "machine": _machines,
}


def complete(kind: str, context: click.Context, incomplete: str) -> list[str]:
    """Return the names of a kind that begin so, but for those that are given already."""
    given = {word for value in context.params.values() for word in _words(value)}
    try:
        known = sorted(_KINDS[kind]())
    except (MicroVMError, OSError):
        return []  # the command itself says what is wrong
    return [name for name in known if name.startswith(incomplete) and name not in given]


def _words(value: object) -> Iterable[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, tuple) else []

"""Finds images, snapshots and machines by the names that users type, which may be abbreviated.

A user may type the beginning of a name if no other name begins so. Verbs that remove something
accept only full names, or for images the beginning of a digest. Abbreviations are a feature of the
command line only; the Python API accepts full names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from microvm import arches, images
from microvm.errors import ImageError, MicroVMError, SnapshotError, TemplateError
from microvm.images import find, readymade, tags
from microvm.progress import on_stderr
from microvm.start import template
from microvm.start.snapshots import STORE
from microvm.suggestion import did_you_mean
from microvm_image import default
from microvm_image.defaults import noted
from microvm_image.kernel import cached

if TYPE_CHECKING:
    import click

    from microvm.images import Image

_LEAST_DIGITS = 4  # minimum length of the beginning of a digest


def find_image(given: str | None, arch: str | None = None) -> Image:
    """Return the image for the value of `--image`; if that is None, return the default image.

    The default image and ready-made images, such as `python`, are built if they do not exist.

    :param arch: Value of `--arch`, or None.
    """
    with on_stderr() as report:
        if given is None:
            return default(arch=arch, report=report)
        return readymade.find(expand_image(given), report, arch)


def expand_image(text: str) -> str:
    """Return the image's name or tag that begins with `text`, in a form that `images.find` accepts.

    A tag with a version is never an abbreviation: `python:3.1` does not mean `python:3.13`.
    """
    if "/" in text or text in {readymade.DEFAULT, *readymade.IMAGES}:
        return text
    try:
        return check_image(text)
    except ImageError:
        known = _images()
        begun = {each: known[each] for each in known if each.startswith(text)}
        if not text or ":" in text or not begun:
            raise
        return _only(text, begun, "images", ImageError)


def existing_image(text: str) -> str:
    """Return the name of the existing image whose name or tag begins with `text`, or its path.

    The name `alpine` means the default image, if that contains Alpine and no image has this tag.
    """
    if text == readymade.DEFAULT and readymade.needs_build(text):
        name = noted(arches.find(None))
        if not name.startswith("alpine-"):
            raise ImageError("no image alpine", hint="`microvm run --image alpine` builds it")
        return name
    return expand_image(text)


def check_image(text: str) -> str:
    """Return `text`, if it is the full name or tag of an image, or the beginning of its digest."""
    try:
        find(text)
    except ImageError as error:
        if text and (hint := did_you_mean(text, _with_ready_made())):
            # The error's own hint says how to get the image. If the user has typed a version, an
            # image with a similar name is no substitute, so show this hint after the suggestion.
            error.hint = f"{hint} {error.hint}" if ":" in text else hint
        raise
    return text


def expand_snapshot(text: str) -> str:
    """Return the name of the only snapshot whose name begins with `text`, or `text` if none does.

    :raises SnapshotError: The names of several snapshots begin with `text`.
    """
    if not text or STORE.path(text).exists():
        return text
    begun = {name: name for name in STORE.names() if name.startswith(text)}
    return _only(text, begun, "snapshots", SnapshotError) if begun else text


def expand_template(text: str) -> str:
    """Return the name of the only template whose digest begins with `text`, or `text` otherwise.

    :raises TemplateError: The digests of several templates begin with `text`.
    """
    known = template.STORE.names()
    if text in known or len(text) < _LEAST_DIGITS:
        return text
    begun = [name for name in known if name.rpartition("-")[2].startswith(text)]
    if len(begun) > 1:
        message = f"the digests of several templates begin with {text}: {', '.join(begun)}"
        raise TemplateError(message, hint="type more of the digest")
    return begun[0] if begun else text


def may_be_image(word: str) -> bool:
    """Return True if a word may be the name of an image, with or without its version."""
    return ":" in word or any(
        each == word or each.startswith((f"{word}:", f"{word}-")) for each in _with_ready_made()
    )


def _only(text: str, begun: Mapping[str, str], noun: str, kind: type[MicroVMError]) -> str:
    """Return a name in `begun`; raise an error of class `kind` if its names mean several objects.

    :param begun: Names that begin with `text`, each with the name of its object. Several tags of
        an image, for example, mean the same object.
    :param noun: Kind of the objects in the plural, for the error of the class `kind`.
    """
    if len(set(begun.values())) > 1:
        message = f"the names of several {noun} begin with {text}: {', '.join(sorted(begun))}"
        raise kind(message, hint="type more of the name")
    return next(iter(begun))


def _images() -> dict[str, str]:
    """Return a mapping from each tag and each name of an image to the name of the image.

    Images of several architectures that have the same tag count as one image. The architecture is
    known only later.
    """
    known = {tags.without_arch(tag): tag for tag in reversed(tags.all_tags())}
    return {
        **{tag: tags.image_of(full) or "" for tag, full in known.items()},
        **{name: name for name in images.names()},
    }


def _with_ready_made() -> list[str]:
    return sorted(
        {*(tag.removesuffix(":latest") for tag in _images()), readymade.DEFAULT, *readymade.IMAGES}
    )


def _machines(*, pools: bool = False) -> Iterable[str]:
    # Imported here, because only the completion needs it, and because `microvm run` imports the
    # module `names` before it starts QEMU.
    from microvm.supervisor.runtime_directory import RuntimeDirectory

    with RuntimeDirectory() as runtime:
        return runtime.names(pools=pools)


def detached_commands(machine: str) -> dict[str, str]:
    """Return the ids and the command lines of a machine's detached commands, for completion."""
    from microvm.supervisor.client import machines

    try:
        known, _ = machines.inspect([machine])
    except (MicroVMError, OSError):
        return {}
    return {str(each["id"]): each["command"] for one in known for each in one.get("commands", [])}


_KINDS: Mapping[str, Callable[[], Iterable[str]]] = {
    "image": _with_ready_made,
    "snapshot": STORE.names,
    "template": template.STORE.names,
    "kernel": lambda: [path.name for path in cached.installed()],
    "machine": _machines,
    "pool": lambda: _machines(pools=True),
}


def complete(kind: str, context: click.Context, incomplete: str) -> list[str]:
    """Return the names of objects of a kind, such as `image`, that begin with `incomplete`.

    The shell offers them when the user presses the Tab key. Names that the command line already
    contains are left out.
    """
    given = {word for value in context.params.values() for word in _words(value)}
    try:
        known = sorted(_KINDS[kind]())
    except (MicroVMError, OSError):
        # a completion cannot show errors; the command reports the error when the user runs it
        return []
    return [name for name in known if name.startswith(incomplete) and name not in given]


def _words(value: object) -> Iterable[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, tuple) else []

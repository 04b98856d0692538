"""Completes names of Python code by the variables of an interpreter in a machine."""

from __future__ import annotations

import re

from microvm.cli.python.console import PythonConsole
from microvm.errors import MicroVMError

_TIMEOUT = 2.0
_MAX_SIZE = 1 << 16

# Only a name is completed, or names with dots between them, such as `a.b`. To complete `f().`, the
# guest would have to call `f` again.
_WORD = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*\.?")

# This text is executed in the guest, so it is valid for Python 3.8. `word` is the word to complete,
# and `names` are the global variables of the cells. As at the prompt of `python3`, the attributes
# before the last dot are evaluated, and the last object lists its attributes. So a completion can
# call properties, `__getattr__` and `__dir__` of the user's objects. A name that begins with `_` is
# listed only if the user has typed the `_`.
_COMPLETE = """
import builtins, keyword
path, dot, begun = word.rpartition(".")
if dot:
    first, *rest = path.split(".")
    target = names[first] if first in names else getattr(builtins, first)
    for each in rest:
        target = getattr(target, each)
    known = dir(target)
else:
    known = [*names, *dir(builtins), *keyword.kwlist]
found = {each for each in known if each.startswith(begun) and (begun or not each.startswith("_"))}
display("\\n".join(path + dot + each for each in sorted(found)))
"""


def complete(console: PythonConsole, word: str) -> list[str]:
    """Return the names that begin with a word. Ignore everything else in the guest's answer."""
    if not _WORD.fullmatch(word):
        return []
    code = f"exec({_COMPLETE!r}, {{'word': {word!r}, 'names': globals()}})"
    try:
        shown = console.evaluate(code, timeout=_TIMEOUT, max_output=_MAX_SIZE)
    except MicroVMError:
        return []  # the next cell reports the error
    names = dict.fromkeys(shown.splitlines())
    return [name for name in names if name.startswith(word) and _WORD.fullmatch(name)]

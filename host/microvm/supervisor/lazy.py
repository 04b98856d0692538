"""Names that are imported at their first use, because most clients never use them.

`microvm exec` needs them only if something fails, or does not need them at all. Together, their
modules take longer to import than a command in a machine takes. Use them as `lazy.NAME`.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import suppress
    from shutil import rmtree

    from microvm.errors import (
        GuestDied,
        GuestUnresponsive,
        MicroVMError,
        ProtocolError,
        StartError,
        UsageError,
    )
    from microvm.machine.hints import about as start_hint
    from microvm.suggestion import did_you_mean
    from microvm.supervisor.error_json import from_json
    from microvm.supervisor.failures import ended, silent
    from microvm.supervisor.names import random_names
    from microvm.system.process import is_stopped
    from microvm.system.terminal_hints import explain_interrupt, suggest_terminal

    __all__ = [
        "GuestDied",
        "GuestUnresponsive",
        "MicroVMError",
        "ProtocolError",
        "StartError",
        "UsageError",
        "did_you_mean",
        "ended",
        "explain_interrupt",
        "from_json",
        "is_stopped",
        "random_names",
        "rmtree",
        "silent",
        "start_hint",
        "suggest_terminal",
        "suppress",
    ]

_SOURCES = {
    "did_you_mean": ("microvm.suggestion", "did_you_mean"),
    "ended": ("microvm.supervisor.failures", "ended"),
    "explain_interrupt": ("microvm.system.terminal_hints", "explain_interrupt"),
    "from_json": ("microvm.supervisor.error_json", "from_json"),
    "is_stopped": ("microvm.system.process", "is_stopped"),
    "random_names": ("microvm.supervisor.names", "random_names"),
    "rmtree": ("shutil", "rmtree"),
    "silent": ("microvm.supervisor.failures", "silent"),
    "start_hint": ("microvm.machine.hints", "about"),
    "suggest_terminal": ("microvm.system.terminal_hints", "suggest_terminal"),
    "suppress": ("contextlib", "suppress"),
}


def __getattr__(name: str) -> object:
    module, attribute = _SOURCES.get(name, ("microvm.errors", name))
    __import__(module)  # `importlib` itself would have to be imported first
    return getattr(sys.modules[module], attribute)

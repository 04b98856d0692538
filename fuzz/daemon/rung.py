"""The daemon as a process under the sanitizers, for a time."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.daemon import DaemonProcess, build_sanitized

from ..outcome import Outcome
from ..settings import SETTINGS
from .conversation import Conversation
from .explore import fuzz


def run(seconds: float, seed: int) -> Outcome:
    """Fuzz for so many seconds, compiling not counted."""
    with tempfile.TemporaryDirectory() as folder:
        binary = build_sanitized(Path(folder))
        return fuzz(Conversation(lambda: DaemonProcess(binary)), SETTINGS, seconds, seed)

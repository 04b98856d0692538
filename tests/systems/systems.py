"""The lists of the tested systems."""

from __future__ import annotations

from .emulated import EmulatedSystem
from .system import System

SYSTEMS = (
    System("Debian 12", "bookworm", "3.11"),
    System("Debian 13", "trixie", "3.13"),
    System("Ubuntu 24.04", "noble", "3.12", "main,universe"),
)
EMULATED = (EmulatedSystem("Debian 13, aarch64 (emulated)", "trixie", "3.13", "aarch64"),)

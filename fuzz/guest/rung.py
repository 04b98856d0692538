"""The daemon in a real guest, over virtio-serial, for a time."""

from __future__ import annotations

from tests.support.machine import Machine

import microvm_image

from ..daemon.conversation import Conversation
from ..daemon.explore import fuzz
from ..outcome import Outcome
from ..settings import UNSHRUNK


def run(seconds: float, seed: int) -> Outcome:
    """Fuzz for so many seconds, the boot counted; one machine must do for all examples."""
    image = microvm_image.default()
    return fuzz(Conversation(lambda: Machine(image)), UNSHRUNK, seconds, seed)

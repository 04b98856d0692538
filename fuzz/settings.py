"""Hypothesis' settings, the same for all that fuzzes."""

from __future__ import annotations

import os

import hypothesis
from hypothesis import HealthCheck, Phase

SETTINGS = hypothesis.settings(
    deadline=None,  # of an example; a target has its own
    derandomize=os.environ.get("CI") == "true",
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The settings of Hypothesis: the same examples every time in CI, others each time elsewhere."""

UNSHRUNK = hypothesis.settings(SETTINGS, phases=[Phase.explicit, Phase.generate])
"""The settings for the real guest: each attempt at a smaller example would take a machine."""

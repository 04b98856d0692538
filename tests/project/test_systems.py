"""Tests that docs/systems.md contains the results of the tests on other systems."""

from __future__ import annotations

import json

from tests.systems.newcomer import STEPS
from tests.systems.system import SYSTEMS
from tests.systems.table import RESULTS


def test_each_step_ran_on_each_system_as_root_and_as_a_user() -> None:
    results = json.loads(RESULTS.read_text())
    found = [(each["system"], each["as"], list(each["took"])) for each in results]
    wanted = [(system.name, who, list(STEPS)) for system in SYSTEMS for who in ("root", "a user")]
    assert found == wanted

"""Tests that docs/systems.md contains the results of the tests on other systems."""

from __future__ import annotations

import json

from tests.systems.newcomer import STEPS
from tests.systems.systems import EMULATED, SYSTEMS
from tests.systems.table import RESULTS


def test_each_step_ran_on_each_system_as_root_and_as_a_user() -> None:
    results = json.loads(RESULTS.read_text())
    found = [(each["system"], each["as"], list(each["took"])) for each in results]
    # The test of an emulated system takes an hour on an idle host, so its results may be missing.
    tested = {each["system"] for each in results}
    also = [system.name for system in EMULATED if system.name in tested]
    systems = [*(system.name for system in SYSTEMS), *also]
    wanted = [(system, who, list(STEPS)) for system in systems for who in ("root", "a user")]
    assert found == wanted

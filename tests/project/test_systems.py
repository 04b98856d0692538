"""The README says of systems what was found on them, by root and by a user."""

from __future__ import annotations

import json

from tests.systems.newcomer import STEPS
from tests.systems.system import SYSTEMS
from tests.systems.table import PAGE, RESULTS, renewed


def test_the_readme_has_what_was_found() -> None:
    assert renewed(PAGE.read_text()) == PAGE.read_text()


def test_all_of_it_was_done_on_each_system_by_root_and_by_a_user() -> None:
    results = json.loads(RESULTS.read_text())
    found = [(each["system"], each["as"], list(each["took"])) for each in results]
    wanted = [(system.name, who, list(STEPS)) for system in SYSTEMS for who in ("root", "a user")]
    assert found == wanted

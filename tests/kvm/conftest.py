"""The condition for the tests of this folder: they run only in the emulated machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kvm import image

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder outside of the emulated machine."""
    if not Path(image.FOLDER, f"{image.MODULES[0]}.ko.xz").exists():
        skip = pytest.mark.skip(reason="changes /dev/kvm: only in the machine of `make test-kvm`")
        for item in items:
            if item.path.parent == HERE:
                item.add_marker(skip)

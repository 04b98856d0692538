"""The launcher as it ships."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.support.confined import build

collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile it."""
    folder = tmp_path_factory.mktemp("launcher")
    folder.parent.chmod(0o711)
    folder.chmod(0o755)
    return build(folder)

"""Test that another user, in another folder and later, compiles an identical small kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.ordinary import USER, as_user

from microvm import arches
from microvm.errors import ImageError
from microvm.progress import LineReporter
from microvm_image.kernel import small
from microvm_image.kernel.source import fetch

pytestmark = pytest.mark.long

SCRIPT = """
import sys
from pathlib import Path
from microvm_image.kernel import small
from microvm_image import package
package.fetch = lambda *_: package.Extracted(Path(sys.argv[2]), sys.argv[3])
print(small.build(arch=sys.argv[1]))
"""


@pytest.mark.parametrize("name", arches.ARCHES)
def test_compiled_kernel_is_identical_everywhere(name: str, tmp_path: Path) -> None:
    try:
        small.check_tools(arches.find(name))
    except ImageError as error:
        pytest.skip(str(error))
    here = small.build(arch=name, pinned=True, report=LineReporter())
    source = fetch(LineReporter(), pinned=True)
    cache = tmp_path / "a-cache-of-a-longer-name-than-others-have"
    cache.mkdir()
    if os.geteuid() == 0:
        os.chown(cache, USER, USER)
    result = subprocess.run(
        as_user(sys.executable, "-c", SCRIPT, name, source.path, source.version),
        env={
            "MICROVM_CACHE": str(cache),
            "MICROVM_NO_CONFIG": "1",
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TZ": "Pacific/Auckland",
        },
        stdout=subprocess.PIPE,
        text=True,
        umask=0o077,
        check=True,
    )
    there = Path(result.stdout.rstrip("\n"))
    assert there.name == here.name
    assert there.read_bytes() == here.read_bytes()

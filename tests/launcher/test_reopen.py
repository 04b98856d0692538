"""Tests of files of root that a confined program opens again with its own uid."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.launcher.test_layers import BASE, ROOT, without
from tests.support.confined import SYSTEM, Confined, confined

pytestmark = pytest.mark.skipif(not ROOT, reason="only root has uids to give")

SETPRIV = shutil.which("setpriv") or "setpriv"
WITHOUT_MOUNTS = [SETPRIV, "--bounding-set=-sys_admin"]
HOLE = 16 << 20


@pytest.fixture
def private(reachable: Path) -> Path:
    """Create a file with a hole that only root can read, in a folder that only root can enter."""
    folder = reachable / "private"
    folder.mkdir(mode=0o700)
    path = folder / "file"
    with path.open("wb") as file:
        file.write(b"content\n")
        file.truncate(HOLE)
        file.seek(HOLE)
        file.write(b"end\n")
    path.chmod(0o400)
    return path


def lend(
    launcher: Path,
    path: Path,
    script: str,
    *,
    prefix: Sequence[str] = (),
    layers: str = "ids",
    option: str = "--file",
) -> Confined:
    """Run a shell script with its own uid; $0 is the descriptor of the file, and $1 is its path."""
    with path.open("rb") as file:
        number = str(file.fileno())
        options = [*without(layers), *SYSTEM, "--uid", str(BASE), option, number]
        program = ["/bin/bash", "-c", script, number, str(path)]
        return confined(launcher, options, program, prefix=prefix, descriptors=[file.fileno()])


def ids(result: Confined) -> str:
    """Return the status line about ids, with the uid replaced by UID."""
    line = next(line for line in result.status if line.startswith("ids "))
    return line.replace(str(BASE + result.pid), "UID")


def has_mounts(launcher: Path, path: Path) -> bool:
    """Return True if this host can mount a file with another owner."""
    return "copied" not in ids(lend(launcher, path, "true"))


@pytest.mark.parametrize("prefix", [[], WITHOUT_MOUNTS])
@pytest.mark.parametrize("layers", ["ids", "ids mount landlock"])
def test_program_reads_a_given_file_that_only_root_can_read(
    launcher: Path, private: Path, prefix: Sequence[str], layers: str
) -> None:
    script = "head -c 8 /dev/fd/$0; tail -c 4 /dev/fd/$0; stat -Lc %s /dev/fd/$0"
    result = lend(launcher, private, script, prefix=prefix, layers=layers)
    assert result.output == f"content\nend\n{HOLE + 4}\n"
    assert private.stat().st_mode & 0o7777 == 0o400


def test_program_has_the_file_itself_if_mounts_work(launcher: Path, private: Path) -> None:
    """For this reason, all clones of a template share its pages."""
    if not has_mounts(launcher, private):
        pytest.skip("no mount here gives a file another owner")
    result = lend(launcher, private, "stat -Lc '%d %i %u' /dev/fd/$0")
    status = private.stat()
    assert result.output == f"{status.st_dev} {status.st_ino} {BASE + result.pid}\n"
    assert ids(result) == "ids ok uid UID"


def test_program_has_a_copy_if_mounts_do_not_work(launcher: Path, private: Path) -> None:
    result = lend(launcher, private, "stat -Lc '%b' /dev/fd/$0", prefix=WITHOUT_MOUNTS)
    assert ids(result) == "ids ok uid UID; for it, 1 files were copied to memory"
    assert int(result.output) < HOLE // 512  # the hole takes no memory


@pytest.mark.parametrize("prefix", [[], WITHOUT_MOUNTS])
@pytest.mark.parametrize("layers", ["ids", "ids mount landlock"])
def test_program_cannot_write_a_given_file(
    launcher: Path, private: Path, prefix: Sequence[str], layers: str
) -> None:
    script = "chmod 600 /dev/fd/$0; echo more >>/dev/fd/$0; echo more >&$0; true"
    result = lend(launcher, private, script, prefix=prefix, layers=layers)
    assert len(result.output.splitlines()) == 3  # each of these lines is an error
    assert private.stat().st_size == HOLE + 4
    assert private.stat().st_mode & 0o7777 == 0o400


def test_program_reads_no_other_file_of_root(launcher: Path, private: Path) -> None:
    script = "cat $1; cat /proc/$PPID/environ; cat /etc/shadow"
    result = lend(launcher, private, script)
    assert result.output.count("Permission denied") == 3, result.output


def test_disk_is_only_readable_by_its_descriptor(launcher: Path, private: Path) -> None:
    script = "head -c 8 <&$0; cat /dev/fd/$0"
    result = lend(launcher, private, script, option="--disk", layers="ids mount landlock")
    first, second = result.output.splitlines()
    assert first == "content"
    assert "Permission denied" in second


def test_file_that_cannot_be_copied_is_a_failure(launcher: Path, private: Path) -> None:
    limit = [shutil.which("prlimit") or "prlimit", "--fsize=4096", *WITHOUT_MOUNTS]
    result = lend(launcher, private, "true", prefix=limit)
    assert result.failure == "cannot let QEMU's user read its files: File too large"

"""Tests of the record that a supervisor keeps of the end of its machine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.small_disk import small_disk

from microvm.supervisor.end_record import EndRecord
from microvm.supervisor.runtime_directory import RuntimeDirectory


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize(
    "reason",
    ["the guest rebooted", "\udcff" * 5000, "\U0001f600" * 5000],
    ids=["short", "long", "long in JSON"],
)
def test_the_end_record_fits_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    with small_disk(tmp_path / "disk", "256k") as disk:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(disk))
        with RuntimeDirectory(make=True) as runtime, runtime.create("one") as directory:
            words = EndRecord(directory)
            assert directory.ended()["reason"] == "its supervisor was killed"
            fill(disk / "large")
            with pytest.raises(OSError, match="No space left"):
                directory.write("other", {"reason": reason})
            words.write(reason, asked=False)
            assert directory.ended()["reason"][:500] == reason[:500]

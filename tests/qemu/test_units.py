"""Sizes as people write them."""

from __future__ import annotations

import pytest

from microvm.errors import UsageError
from microvm.units import MINIMUM_MEMORY, parse_memory, parse_size


@pytest.mark.parametrize(
    ("text", "mebibytes"),
    [
        ("256", 256),
        ("256M", 256),
        ("512MiB", 512),
        ("1G", 1024),
        ("1g", 1024),
        ("2GiB", 2048),
        (" 1T ", 1 << 20),
        ("262144K", 256),
        (str(MINIMUM_MEMORY), MINIMUM_MEMORY),
    ],
)
def test_sizes(text: str, mebibytes: int) -> None:
    assert parse_memory(text) == mebibytes


@pytest.mark.parametrize(
    "text", ["", "M", "1.5G", "-1", "256 M", "256MB", "256X", "1e3", "٢٥٦", "9" * 13]
)
def test_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is not a memory size"):
        parse_memory(text)


def test_a_size_is_in_bytes() -> None:
    assert [parse_size(text) for text in ("3K", "20", "20M", "1G")] == [
        3 << 10,
        20 << 20,
        20 << 20,
        1 << 30,
    ]


@pytest.mark.parametrize("text", ["0", "1K", "63M", str(MINIMUM_MEMORY - 1)])
def test_too_little(text: str) -> None:
    with pytest.raises(UsageError, match=f"at least {MINIMUM_MEMORY}M"):
        parse_memory(text)


def test_fraction_of_a_mebibyte() -> None:
    with pytest.raises(UsageError, match="whole number of MiB"):
        parse_memory("262145K")

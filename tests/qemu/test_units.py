"""Tests of sizes and durations in text form."""

from __future__ import annotations

from typing import Any

import pytest

from microvm.errors import UsageError
from microvm.units import (
    MINIMUM_LIMIT,
    MINIMUM_MEMORY,
    parse_duration,
    parse_memory,
    parse_memory_limit,
    parse_size,
)


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ([0, "0"], 0),
        ([20, "20", "20B"], 20),
        (["3K"], 3 << 10),
        (["20M", "20m", "20MB", "20MiB"], 20 << 20),
        (["1.5G"], 3 << 29),
        ([" 1T "], 1 << 40),
    ],
)
def test_a_size_is_in_bytes(sizes: list[int | str], count: int) -> None:
    assert [parse_size(size) for size in sizes] == [count] * len(sizes)


NO_SIZES = ["", "M", "1.5", "-1", "256 M", "256X", "256iB", "1e3", "٢٥٦", "1\u212a", "9" * 19]


@pytest.mark.parametrize("size", [*NO_SIZES, "9" * 18 + "T", -1, 1 << 63, 1.5, True, None, b"1"])
def test_invalid_sizes(size: Any) -> None:
    with pytest.raises(UsageError, match=r"is not a size \(write 64M, 1K or 2G; .* is bytes\)"):
        parse_size(size)


@pytest.mark.parametrize(
    ("size", "mebibytes"),
    [
        ("256M", 256),
        (256 << 20, 256),
        ("1g", 1024),
        ("262144K", 256),
        (MINIMUM_MEMORY, MINIMUM_MEMORY >> 20),
    ],
)
def test_memory_of_a_guest_is_in_bytes(size: int | str, mebibytes: int) -> None:
    assert parse_memory(size) == mebibytes << 20


@pytest.mark.parametrize("size", ["0", "1K", "63M", "256", 256, MINIMUM_MEMORY - 1])
def test_too_little_memory_for_a_guest(size: int | str) -> None:
    with pytest.raises(UsageError, match=r"at least 96M; a number alone is bytes"):
        parse_memory(size)


def test_memory_limit_of_a_command_has_a_minimum() -> None:
    expected: dict[int | str, int] = {0: 0, "0": 0, "64M": 64 << 20, MINIMUM_LIMIT: MINIMUM_LIMIT}
    assert {size: parse_memory_limit(size) for size in expected} == expected
    for size in (64, "64", "512K", MINIMUM_LIMIT - 1):
        with pytest.raises(UsageError, match=r"at least 1M; a number alone is bytes"):
            parse_memory_limit(size)


@pytest.mark.parametrize(
    ("texts", "seconds"),
    [
        ([5, "5", "5s"], 5),
        ([0.5, "0.5", "500ms"], 0.5),
        (["1.5m", "90s"], 90),
        (["2h"], 7200),
        (["1d", "24h"], 86400),
        (["1h30m"], 5400),
        (["2d1h"], 176400),
        (["1m1.5s"], 61.5),
        (["1m500ms"], 60.5),
    ],
)
def test_a_duration_is_in_seconds(texts: list[float | str], seconds: float) -> None:
    assert [parse_duration(text) for text in texts] == [seconds] * len(texts)


@pytest.mark.parametrize(
    "duration",
    ["", "5 s", "1h 30m", "\u0665s", -1, *"s 5S 5M 30s1m 1h1h 1h30 -1 inf nan 1e3".split()],
)
def test_invalid_durations(duration: Any) -> None:
    with pytest.raises(UsageError, match=r"is not a duration \(write 5s, 500ms or 1h30m"):
        parse_duration(duration)


@pytest.mark.parametrize("duration", [float("inf"), float("nan"), 10**400, True, None, b"1"])
def test_values_that_are_no_durations(duration: Any) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(duration)


@pytest.mark.parametrize("duration", [0, 0.0, "0", "0s", "0.0ms"])
def test_zero_durations(duration: float | str) -> None:
    with pytest.raises(UsageError, match="is not a positive duration") as caught:
        parse_duration(duration)
    assert caught.value.hint.startswith("leave it out, or write 5s")

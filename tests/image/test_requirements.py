"""Tests of lists of Python packages: which lines are accepted, and what the errors say."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from microvm.errors import UsageError
from microvm_image.pip import requirements

HASH = "--hash=sha256:" + "0f" * 32


@pytest.mark.parametrize(
    "text",
    [
        "numpy",
        "Numpy_2.x",
        "numpy>=2,<3",
        "numpy == 2.3.*",
        "torch==2.9.0+cpu",
        "dask[array, diagnostics]~=2026.1",
        "tomli; python_version < '3.11' and platform_release != 'a-b'",
        f"six==1.17.0 {HASH} {HASH}",
        f"six==1.17.0 ; sys_platform == 'linux' {HASH}",
    ],
)
def test_names_of_packages_are_accepted(text: str) -> None:
    assert requirements.check(text) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "such as numpy"),
        ("--no-binary=:all:", "such as numpy"),
        ("-e .", "pip wheel"),
        ("/etc/passwd", "pip wheel"),
        ("numpy @ file:///srv/numpy", "pip wheel"),
        ("git+https://localhost/numpy", "pip wheel"),
        ("-r other.txt", "with -r"),
        ("-c limits.txt", "write the versions into the list"),
        ("--index-url https://localhost/simple", "PIP_INDEX_URL"),
        ("numpy\n--no-binary=:all:", "such as numpy"),
        ("numpy --config-settings=a=b", "such as numpy"),
        ("numpy; python_version > '3' --no-binary numpy", "such as numpy"),
        ("numpy; '${HOME}' == ''", "such as numpy"),
        ("numpy --hash=md5:00", "such as numpy"),
    ],
)
def test_everything_else_is_refused(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a Python package") as caught:
        requirements.check(text)
    assert hint in caught.value.hint


def test_list_with_comments_and_continued_lines(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(
        f"# of uv\nnumpy>=2 # fast\n\n  six==1.17.0 \\\n    {HASH} \\\n    {HASH}\n    # via x\n"
        "pytz \\"
    )
    assert requirements.read(path) == ("numpy>=2", f"six==1.17.0 {HASH} {HASH}", "pytz")


def test_error_names_the_line_of_the_list(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("six \\\n\n# more\n-e \\\n .\n")
    with pytest.raises(UsageError, match=r"requirements\.txt:4: '-e \.' is not"):
        requirements.read(path)


def test_unreadable_lists_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        requirements.read(path)
    with pytest.raises(UsageError, match="cannot be read: "):
        requirements.read(tmp_path)
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not a text in UTF-8"):
        requirements.read(path)
    path.write_bytes(b"six\n" * (1 << 18) + b"\n")
    with pytest.raises(UsageError, match="cannot be read: too long"):
        requirements.read(path)


@pytest.mark.parametrize(
    "text",
    ["a" * (1 << 19) + "!", "a==1," * (1 << 17), "a;" + " (" * (1 << 18) + "$", "a[" + "b," * 9999],
)
def test_hostile_line_takes_little_time(text: str) -> None:
    before = time.process_time()
    with pytest.raises(UsageError):
        requirements.check(text)
    assert time.process_time() - before < 5

"""Tests that download wheels from a local index by the real pip, for a Python of a guest."""

from __future__ import annotations

import sys
import zipfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.image.conftest import Leftovers
from tests.support.wheels import source_archive, use_index, wheel

from microvm.errors import ImageError
from microvm.progress import NullReporter
from microvm.system import tools
from microvm_image.limits import Limits
from microvm_image.pip import download
from microvm_image.pip.guest_python import GuestPython
from microvm_image.pip.wheels import Wheel, Wheels

pytestmark = pytest.mark.thorough

GUEST = GuestPython("3.9.18", "aarch64", ("manylinux_2_31_aarch64", "manylinux2014_aarch64"), True)


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that is the only index of pip."""
    folder = tmp_path / "index"
    folder.mkdir()
    use_index(monkeypatch, folder)
    return folder


def get(*wanted: str, python: GuestPython = GUEST, limits: Limits | None = None) -> Wheels:
    with download.downloaded(wanted, python, limits or Limits(), NullReporter()) as found:
        return found


def names(wheels: Wheels) -> list[str]:
    return [each.data.path.name for each in wheels.packages]


def test_wheels_are_chosen_for_the_guest(index: Path, leftovers: Leftovers) -> None:
    for tag in (
        *("cp39-cp39-manylinux2014_aarch64", "cp39-cp39-manylinux2014_x86_64"),
        *("cp313-cp313-manylinux2014_aarch64", "cp39-cp39-manylinux_2_40_aarch64"),
    ):
        wheel(index, "fast", tag=tag)
    assert names(get("fast")) == ["fast-1-cp39-cp39-manylinux2014_aarch64.whl"]
    assert not leftovers()


def test_markers_are_evaluated_for_the_guest(index: Path) -> None:
    assert sys.version_info >= (3, 10)
    needs = (
        "old; python_version < '3.10'",
        "exact; python_full_version == '3.9.18'",
        "machine; platform_machine == 'aarch64'",
        "new; python_version >= '3.10'",
        "other; platform_machine != 'aarch64'",
    )
    wheel(index, "app", needs=needs)
    for name in ("old", "exact", "machine"):
        wheel(index, name)
    found = names(get("app"))
    assert [name.partition("-")[0] for name in found] == ["app", "exact", "machine", "old"]


def test_digest_depends_on_the_wheels_alone(index: Path) -> None:
    wheel(index, "one")
    wheel(index, "two", "2.0")
    first, second = get("two", "one"), get("one", "two==2.0", "two>=1")
    assert first.digest() == second.digest()
    history = list(first.history())
    assert [line.partition(" --hash")[0] for line in history] == ["pip one==1", "pip two==2.0"]
    locked = [line.removeprefix("pip ") for line in history]
    assert get(*locked).digest() == first.digest()
    wheel(index, "two", "2.0", files={"more.py": ""})
    assert get("one", "two").digest() != first.digest()
    with pytest.raises(
        ImageError, match=r"two==2\.0: wrong hash: the list has sha256 [0-9a-f]{64},"
    ):
        get(*locked)


def test_pip_is_downloaded_for_an_image_without_pip(index: Path) -> None:
    python = GuestPython("3.9.18", "aarch64", GUEST.platforms, has_pip=False)
    wheel(index, "one")
    with pytest.raises(ImageError, match="the index has no package pip"):
        get("one", python=python)
    wheel(index, "pip", "26.0")
    found = get("one", python=python)
    assert [(each.name, each.version) for each in found.pip] == [("pip", "26.0")]
    assert [line.split("==")[0] for line in found.history()] == ["pip one"]
    assert found.digest() != get("one").digest()


def test_code_of_a_package_is_not_run(index: Path, tmp_path: Path) -> None:
    source_archive(index, "code", f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ImageError, match=r"code has no wheel for Python 3\.9 on aarch64") as caught:
        get("code")
    assert "`pip wheel --no-deps --wheel-dir wheels code`" in caught.value.hint
    wheel(index, "app", needs=["code"])
    with pytest.raises(ImageError, match="code, which app needs, has no wheel"):
        get("app")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("variable", ["PIP_NO_BINARY", "PIP_ONLY_BINARY"])
def test_configuration_of_pip_allows_no_builds(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, ":all:" if variable == "PIP_NO_BINARY" else ":none:")
    source_archive(index, "code", f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ImageError, match="code has no wheel"):
        get("code")
    assert not (tmp_path / "ran").exists()


def test_wrong_names_and_versions(index: Path, leftovers: Leftovers) -> None:
    wheel(index, "fast", tag="cp39-cp39-win_arm64")
    wheel(index, "one")
    wheel(index, "app", needs=["gone>2"])
    for wanted, message in (
        (
            "nothing",
            "the index has no package nothing, or none for Python 3.9 on aarch64 with glibc",
        ),
        ("fast", "the index has no package fast, or none for"),
        ("app", "the index has no package gone, which app needs, or none for"),
        ("one==2", "no version one==2 has a wheel for Python 3.9 on aarch64 with glibc"),
        ("one===x y", "Invalid requirement: 'one===x y'"),
    ):
        with pytest.raises(ImageError, match=message) as caught:
            get(wanted)
        assert not caught.value.detail
    assert not leftovers()


def test_list_with_hashes_needs_all_hashes(index: Path) -> None:
    path = wheel(index, "app", needs=["one"])
    wheel(index, "one")
    locked = f"app==1 --hash=sha256:{Wheel.of(path).sha256}"
    for wanted in ((locked,), (locked, "one"), (locked, "one==1")):
        with pytest.raises(ImageError, match="one has no hash, but other packages of the list"):
            get(*wanted)


@pytest.mark.parametrize(
    "name",
    ["../../up-1-py3-none-any.whl", "/up-1-py3-none-any.whl", "up-1-py3-none-any.whl/../up.whl"],
)
def test_hostile_names_in_a_wheel_are_not_unpacked(index: Path, tmp_path: Path, name: str) -> None:
    wheel(index, "up", files={name: b"out", "up/../../../../out": b"out"})
    assert names(get("up")) == ["up-1-py3-none-any.whl"]
    assert not list(tmp_path.rglob("out"))


def test_links_in_a_wheel_are_not_followed(index: Path, tmp_path: Path) -> None:
    linked = zipfile.ZipInfo("up-1.dist-info/METADATA")
    linked.external_attr = 0o120777 << 16
    (tmp_path / "secret").write_text("Name: secret\n")
    path = wheel(index, "up")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(linked, str(tmp_path / "secret"))
        archive.writestr("up-1.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    with pytest.raises(ImageError) as caught:
        get("up")
    assert "secret" not in str(caught.value)


def test_description_that_takes_too_much_memory_fails(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_MEMORY", 256 << 20)
    wheel(index, "good")
    assert names(get("good"))
    path = wheel(index, "bomb", metadata="\n" + "0" * (256 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ImageError, match="the metadata of a package is too large"):
        get("bomb")


def test_size_and_time_are_limited(index: Path, leftovers: Leftovers) -> None:
    wheel(index, "big", files={zipfile.ZipInfo("big.bin"): bytes(range(256)) * 40000})
    with pytest.raises(ImageError) as caught:
        get("big", limits=Limits(unpacked=1 << 14))
    assert "--limit unpacked=N" in caught.value.hint
    with pytest.raises(ImageError, match="takes more than 0 s") as caught:
        get("big", limits=Limits(seconds=0))
    assert "--limit seconds=N" in caught.value.hint
    assert not leftovers()


def test_pip_of_another_python_is_used(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(index, "one")
    real = download.find_python()
    without = tmp_path / "python"
    without.write_text("#!/bin/sh\nexit 1\n")
    without.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(without))
    monkeypatch.setattr(tools, "find", lambda _: real)
    assert download.find_python() == real
    monkeypatch.setattr(tools, "find", lambda _: None)
    with pytest.raises(ImageError, match="Python packages need pip") as caught:
        download.find_python()
    assert "apt install python3-pip" in caught.value.hint


def test_only_wheels_are_accepted(tmp_path: Path) -> None:
    path = wheel(tmp_path, "one", "1.0+cpu", tag="2-py3-none-any")
    assert (Wheel.of(path).name, Wheel.of(path).version) == ("one", "1.0+cpu")
    with ExitStack() as stack:
        for name in ("one-1.tar.gz", "one-1-none-any.whl", "one==1-1-py3-none-any.whl"):
            stack.enter_context(pytest.raises(ImageError, match="which is not a wheel"))
            (tmp_path / name).touch()
            Wheel.of(tmp_path / name)
    (tmp_path / "link-1-py3-none-any.whl").symlink_to(path)
    with pytest.raises(ImageError, match="which is not a wheel"):
        Wheel.of(tmp_path / "link-1-py3-none-any.whl")

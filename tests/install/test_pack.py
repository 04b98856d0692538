"""Tests of an installed guest pack on a host with neither a compiler nor a network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from tests.install import built
from tests.install.built import ARCH, PYTHONS, ROOT, UserHost, build_pack, installed
from tests.project import release
from tests.support.captured import captured
from tests.support.ordinary import USER, as_user, only_root, read_only

from guest_pack.build import build
from guest_pack.parts import parts
from microvm import guest_pack
from microvm._version import __version__
from microvm.arches import ARCHES
from microvm.guest_pack import MANIFEST
from microvm.progress import NullReporter
from microvm_image import programs, rootfs
from microvm_image.kernel import cached

NAME = guest_pack.distribution(ARCH)
(OTHER,) = (each for each in ARCHES.values() if each is not ARCH)


@pytest.fixture(scope="module")
def pack(dist: Path) -> Path:
    (path,) = dist.glob(f"{NAME.replace('-', '_')}-*.whl")
    return path


def archive() -> Path:
    return rootfs.given(ARCH) or rootfs.cached(ARCH)


@contextmanager
def another(
    host: UserHost, name: str, data: bytes | None = None, **fields: object
) -> Iterator[None]:
    """Replace a file or the manifest of an installed pack for a while."""
    (folder,) = host.home.rglob(guest_pack.module(ARCH))
    path = folder / name
    before = path.read_bytes()
    path.write_bytes(json.dumps(json.loads(before) | fields).encode() if data is None else data)
    try:
        yield
    finally:
        path.write_bytes(before)


def test_a_machine_says_hello_where_there_is_no_compiler(host: UserHost) -> None:
    assert host.run(["microvm", "run", "--", "echo", "hello"]).stdout == "hello\n"
    (image,) = json.loads(host.run(["microvm", "image", "ls", "--json"]).stdout)
    assert image["base"].startswith("alpine-")


def test_the_doctor_finds_nothing_to_mend(host: UserHost) -> None:
    said = host.run(["microvm", "doctor"]).stdout
    assert f"from {NAME}" in said


def test_a_pack_of_another_protocol_is_refused(host: UserHost) -> None:
    with another(host, MANIFEST, schema="0" * 16, version="0.0.9"):
        said = host.run(["microvm", "image", "build"], status=125).stderr
        diagnosed = host.run(["microvm", "doctor"], status=1).stdout
    assert said == (
        f"microvm: {NAME} 0.0.9 speaks protocol {'0' * 16}, microvm {__version__} speaks "
        f"{programs.schema()} (pip install '{NAME}=={__version__}'; or run `pip uninstall "
        f"{NAME}` to build everything from source)\n"
    )
    assert "the guest pack cannot be used" in diagnosed


def test_pack_of_other_sources_is_not_used(host: UserHost) -> None:
    with another(host, MANIFEST, version="0.0.9", parts={}):
        said = host.run(["microvm", "image", "build", "--rootfs", archive()], status=125).stderr
        diagnosed = host.run(["microvm", "doctor"], status=1).stdout
    assert f"{NAME} 0.0.9 was built from other sources, and is not used" in said
    assert "no C compiler that compiles sandboxd" in said
    assert said.count(f"pip install '{NAME}=={__version__}'") == 2
    assert "the guest pack cannot be used: it belongs to microvm 0.0.9" in diagnosed


@pytest.mark.parametrize(
    "name", ["pack.json", "programs/sandboxd", "launcher/confine", f"rootfs/{archive().name}"]
)
def test_a_damaged_pack_is_said_to_be(host: UserHost, name: str, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    with another(host, name, b"{"):
        said = host.run(["microvm", "run", "--", "true"], status=125, MICROVM_CACHE=cache).stderr
    assert "the guest pack is damaged" in said
    assert f"(pip install --force-reinstall '{NAME}=={__version__}')" in said
    host.run(["microvm", "run", "--", "true"], MICROVM_CACHE=cache)  # no file remains


def test_it_is_small_and_has_licences_and_a_bill_of_materials(pack: Path) -> None:
    without = [] if cached.newest(ARCH) else ["it has no kernel"]
    assert [*release.wheel(pack, NAME, __version__, release.LIMITS[NAME])] == without
    with zipfile.ZipFile(pack) as wheel:
        names = wheel.namelist()
        (bill,) = (name for name in names if name.endswith(".dist-info/sboms/guest.cdx.json"))
        text = wheel.read(bill).decode()
        files = {
            hashlib.sha256(wheel.read(name)).hexdigest(): name
            for name in names
            if name.startswith(guest_pack.module(ARCH))
        }
    assert not JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    components = json.loads(text)["components"]
    hashes = {each["content"] for of in components for each in of.get("hashes", ())}
    assert hashes <= set(files)
    assert {Path(files[each]).name for each in hashes} >= {*programs.NAMES, "confine"}
    assert {"busybox", "musl"} <= {of["name"] for of in components}
    licences = {Path(name).name for name in names if "/licenses/" in name}
    assert {"LICENSE", "GPL-2.0.txt", "Apache-2.0.txt"} <= licences


@pytest.fixture(scope="module")
def other_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest pack of the other processor, with a kernel that an earlier build has compiled."""
    if not (cached.newest(OTHER) and shutil.which(OTHER.qemu)):
        pytest.skip("`make guest-pack` has not been run here")
    return build(OTHER, parts(OTHER, NullReporter()), tmp_path_factory.mktemp("pack"))


def test_pack_of_the_other_processor_is_complete(other_pack: Path) -> None:
    name = guest_pack.distribution(OTHER)
    assert [*release.wheel(other_pack, name, __version__, release.LIMITS[name])] == []


@only_root
@pytest.mark.parametrize("python", PYTHONS, ids=["python", "python3.11"])
def test_user_without_a_compiler_runs_guests_of_the_other_arch(
    python: str, dist: Path, other_pack: Path, shared: Path
) -> None:
    python = installed(python)
    built.download(dist, python)
    where = Path(tempfile.mkdtemp(dir=shared))
    host = built.host(where, is_user=True, reads_all=Path(python).is_relative_to("/root"))
    (host.folder / "bin" / OTHER.qemu).symlink_to(shutil.which(OTHER.qemu) or "")
    pack = str(shutil.copy(other_pack, where))
    host.install(dist, python, built.WHAT, pack)
    command = ["microvm", "run", "--arch", OTHER.name, "--", "uname", "-m"]
    assert host.run(command, MICROVM_KERNEL="").stdout == f"{OTHER.name}\n"
    with read_only(host.home / ".cache"):
        assert host.run(command, MICROVM_KERNEL="").stdout == f"{OTHER.name}\n"


@only_root
def test_pack_is_reproducible(tmp_path: Path, shared: Path) -> None:
    folder = shared / "a-folder-with-a-long-name"
    folder.mkdir()
    sources, made, cache = (folder / each for each in ("sources", "made", "cache"))
    for each in (sources, made, cache):
        each.mkdir()
    git = captured(["git", "ls-files"], cwd=ROOT, check=True)
    copy = ["cp", "--parents", "--target-directory", str(sources), *git.stdout.splitlines()]
    subprocess.run(copy, cwd=ROOT, check=True)
    folders = (".", "codegen", "host", "image")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, USER, USER)
    subprocess.run(
        as_user(sys.executable, "-P", "-m", "tests.install.built", made),
        cwd=sources,
        env=os.environ
        | {
            "PYTHONPATH": ":".join(str(sources / each) for each in folders),
            "MICROVM_CACHE": str(cache),
            "HOME": str(folder),
            "TMPDIR": str(folder),
        },
        check=True,
    )
    here = build_pack(tmp_path, kernel=False)
    assert (made / here.name).read_bytes() == here.read_bytes()

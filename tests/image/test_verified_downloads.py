"""Tests that only verified downloads are used: each source with a mirror that sends wrong files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.image import mirror, oci
from tests.image.layers import file, tar
from tests.support import ordinary

from microvm import arches
from microvm.errors import ImageError
from microvm.progress import NullReporter
from microvm_image import download, download_speed, package, rootfs
from microvm_image.sources import alpine
from microvm_image.sources.find import find

pytestmark = pytest.mark.thorough

Pin = Callable[..., Path]

HOST = arches.find()
SECURITY = Path(__file__).parents[2] / "docs/security.md"
TRUE = "int main(void) { return 0; }\n"
STATUS = "Package: apt\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n"


@dataclass
class Supply:
    """A source of downloads with its own mirror.

    :ivar files: The files on the mirror, by path.
    :ivar lies: The functions that send wrong answers for some of the files, by path.
    :ivar get: A function that downloads everything.
    :ivar archive: The signed archive of the source, if it has one.
    """

    files: dict[str, bytes]
    get: Callable[[], object]
    lies: dict[str, mirror.Lie] = field(default_factory=dict)
    archive: mirror.Archive | None = None
    address: str = ""


def _alpine(_: Path, pin: Pin) -> Supply:
    data = pin(**{"./bin/sh": b"#!" * 999}).read_bytes()

    def get() -> object:
        return rootfs.find(arches.find(), None, made.address, NullReporter())

    made = Supply({alpine.url(HOST, "")[1:]: data}, get)
    return made


def _apt(folder: Path, _: object) -> Supply:
    archive = mirror.Archive(folder / "archive")
    archive.add("thing", "1:1-1", {"bin/thing": bytes(5000)})
    archive.release()
    wanted = package.WantedPackage("thing", "bin/thing")
    return Supply(
        archive.files, lambda: package.fetch(wanted, HOST, NullReporter()), archive=archive
    )


def _mmdebstrap(folder: Path, _: object) -> Supply:
    """Return a mirror with a Debian of one empty package."""
    (folder / "true.c").write_text(TRUE)
    oci.run("gcc", "-static", "-s", "-o", folder / "true", folder / "true.c")
    programs = dict.fromkeys(
        ("bin/sh", "bin/true", "usr/bin/dpkg", "usr/bin/env", "usr/bin/apt-get"),
        (folder / "true").read_bytes(),
    )
    archive = mirror.Archive(folder / "archive")
    archive.add(
        "apt",
        "1",
        {**programs, "var/lib/dpkg/status": STATUS.encode()},
        "Essential: yes",
        "Priority: required",
    )
    archive.release()

    def get() -> object:
        with find("debian:trixie", HOST, report=NullReporter()) as source, source.tree() as tree:
            return dict(tree.walk())["usr/bin/dpkg"]

    return Supply(archive.files, get, archive=archive)


def _registry(folder: Path, _: object) -> Supply:
    layout = oci.layout(folder / "layout", tar(file("a", bytes(range(256)) * 99)))
    top = oci.index(layout)["manifests"][0]
    manifest = oci.manifest(layout)
    files = {"v2/": b"{}", f"v2/a/manifests/{top['digest']}": oci.blob(layout, top).read_bytes()}
    for each in (manifest["config"], *manifest["layers"]):
        files[f"v2/a/blobs/{each['digest']}"] = oci.blob(layout, each).read_bytes()

    def get() -> object:
        address = made.address.removeprefix("http://")
        text = f"docker://{address}/a@{top['digest']}"
        with find(text, HOST, report=NullReporter()) as source, source.tree() as tree:
            return dict(tree.walk())["a"]

    made = Supply(files, get)
    return made


SUPPLIES = {
    "alpine": _alpine,
    "packages": _apt,
    "debian:SUITE": _mmdebstrap,
    "docker://": _registry,
}
"""Functions that create a supply, by the supply's name in the table of docs/security.md."""

_PACKAGE = {"package": 0, "index": 1, "release": 2}
PARTS = {
    "alpine": {"archive": 0},
    "packages": _PACKAGE,
    "debian:SUITE": _PACKAGE,
    "docker://": {"manifest": 1, "config": 2, "layer": 3},
}
"""The parts of each supply that can be wrong, by their positions among its files."""

_BOTH = r"SHA-256 expected is \w{64}; the SHA-256 received is \w{64}$"
_SIZE = r"unexpected size \(\d+ != \d+\)"
_DIGESTS = r"sha256:\w{64}.*sha256:\w{64}"
_APT: dict[mirror.Lie, str] = {
    mirror.changed: rf"InRelease: .*manipulated|{_BOTH}",
    mirror.other: rf"InRelease: .*isn't valid|{_BOTH}",
    mirror.truncated: rf"InRelease: Splitting up|{_SIZE}",
    mirror.broken_off: r"(InRelease|Packages|\.deb): ",
    mirror.endless: rf"trixie Release: does not have a|InRelease: sends more than|{_SIZE}",
}
SAYS: dict[str, dict[mirror.Lie, str]] = {
    "alpine": {
        **dict.fromkeys(mirror.LIES, r"its SHA-256 is \w{64}, not \w{64}$"),
        mirror.endless: "sends more than 1 MiB$",
    },
    "packages": _APT,
    "debian:SUITE": _APT,
    "docker://": {
        **dict.fromkeys(mirror.LIES, _DIGESTS),
        mirror.broken_off: "unexpected EOF",
        mirror.endless: "exceeded maximum|sends more than the manifest says",
    },
}
"""The error message for each lie: the expected and the received content."""


def cases() -> Iterator[object]:
    for name, parts in PARTS.items():
        for part in parts:
            for lie in mirror.LIES:
                retried = lie is mirror.broken_off and name != "alpine"  # for some seconds
                known = name == "debian:SUITE" and lie is not mirror.changed  # as of `packages`
                marks = [pytest.mark.long] if retried or known else []
                label = f"{name}-{part}-{lie.__name__}"
                yield pytest.param(name, part, lie, marks=marks, id=label)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that every user can enter, because apt downloads as its own user."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def supply(
    request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch, pin: Pin
) -> Iterator[Supply]:
    """Return the supply of the test, whose mirror sends the right files at first."""
    made = SUPPLIES[request.param](folder, pin)
    monkeypatch.setattr(download, "SIZE_LIMIT", 1 << 20)
    with mirror.serving(made.files, made.lies) as made.address:
        if made.archive:
            monkeypatch.setenv("APT_CONFIG", str(made.archive.configure(made.address)))
            if request.param == "debian:SUITE":  # mmdebstrap asks the host's apt for mirrors
                subprocess.run(["apt-get", "-qq", "update"], check=True)
        yield made


def kept(cache: Path) -> set[str]:
    """Return the names of the files in the cache, except for the dates of releases."""
    found = (path.relative_to(cache) for path in cache.rglob("*") if path.is_file())
    return {str(path) for path in found if path.name != "releases.json"}


@pytest.mark.parametrize("supply", ["alpine", "docker://"], indirect=True)
def test_right_files_are_accepted(supply: Supply) -> None:
    assert supply.get()


@pytest.mark.parametrize("supply", ["packages"], indirect=True)
def test_older_version_can_be_chosen(supply: Supply) -> None:
    assert supply.archive
    supply.archive.add("thing", "1:2-1", {"bin/thing": b""})
    supply.archive.release()
    for version in ("", "1:1-1", "1:2-1"):
        wanted = package.WantedPackage("thing", "bin/thing", version=version)
        assert package.fetch(wanted, HOST, NullReporter()).version == (version or "1:2-1")
    wanted = package.WantedPackage("thing", "bin/thing", version="1:3-1")
    with pytest.raises(ImageError, match="apt knows no package thing 1:3-1"):
        package.fetch(wanted, HOST, NullReporter())


@pytest.mark.parametrize(("supply", "part", "lie"), [*cases()], indirect=["supply"])
def test_wrong_files_are_refused(
    supply: Supply, part: str, lie: mirror.Lie, cache: Path, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["supply"]
    supply.lies[[*supply.files][PARTS[name][part]]] = lie
    with pytest.raises(ImageError) as caught:
        supply.get()
    assert re.search(SAYS[name][lie], caught.value.message)
    assert kept(cache) == set()


@pytest.mark.parametrize(
    ("supply", "part"), [("packages", "package"), ("debian:SUITE", "release")], indirect=["supply"]
)
def test_slow_mirror_is_cancelled(
    supply: Supply,
    part: str,
    cache: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = request.node.callspec.params["supply"]
    supply.lies[[*supply.files][PARTS[name][part]]] = mirror.trickled
    monkeypatch.setattr(download_speed, "WINDOW", 1.0)
    with pytest.raises(ImageError, match="too slow: less than 1024 bytes per second"):
        supply.get()
    assert kept(cache) == set()


@pytest.mark.parametrize("supply", ["packages", "debian:SUITE"], indirect=True)
def test_release_signed_by_an_unknown_key_is_refused(supply: Supply, cache: Path) -> None:
    archive = supply.archive
    assert archive
    archive.release(signed=False)
    with pytest.raises(ImageError, match="trixie Release: is not signed"):
        supply.get()
    archive.make_key()
    archive.release()
    with pytest.raises(ImageError, match=r"InRelease: .*([Mm]issing key|NO_PUBKEY)"):
        supply.get()
    assert kept(cache) == set()


@pytest.mark.parametrize("supply", ["packages"], indirect=True)
def test_host_cannot_disable_signatures(supply: Supply, cache: Path) -> None:
    assert supply.archive
    with Path(os.environ["APT_CONFIG"]).open("a") as config:
        config.write(
            'Acquire::AllowInsecureRepositories "true";\nAPT::Get::AllowUnauthenticated "true";\n'
        )
    supply.archive.release(signed=False)
    with pytest.raises(ImageError, match="trixie Release: is not signed"):
        supply.get()
    assert kept(cache) == set()


@pytest.mark.parametrize("supply", ["packages", "debian:SUITE"], indirect=True)
def test_older_release_is_refused(supply: Supply, cache: Path) -> None:
    archive = supply.archive
    assert archive
    assert supply.get()
    first = kept(cache)
    archive.add("other", "1", {})
    archive.release(age=mirror.DAY * 2)
    for path in first:
        (cache / path).unlink()  # as for another file of the package
    with pytest.raises(ImageError, match=r"its date is .* but a release of .* UTC was seen"):
        supply.get()
    assert kept(cache) == set()
    archive.release(age=mirror.DAY / 2)  # mirrors lag behind each other
    assert supply.get()


OTHER_HOST = """#!/bin/sh
exec unshare --mount --uts sh -c '
hostname secret-name
for file in hostname resolv.conf hosts; do
    test ! -e /etc/$file || mount --bind "$0" /etc/$file || exit 1
done
export TZ=Asia/Tokyo LANG=de_DE.UTF-8 USER=secret-user LOGNAME=secret-user EMAIL=secret@example
umask 077
exec {} "$@"' {} "$@"
"""
"""A script that runs mmdebstrap as on a host with another name, user, locale and time zone."""


@ordinary.only_root
@pytest.mark.parametrize("supply", ["debian:SUITE"], indirect=True)
def test_image_contains_nothing_of_the_build_host(
    supply: Supply, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supply.get()
    here = contents(cache)
    for path in kept(cache):
        (cache / path).unlink()
    secret, program = tmp_path / "secret", tmp_path / "mmdebstrap"
    secret.write_text("nameserver 10.9.8.7 # secret-name\n")
    program.write_text(OTHER_HOST.format(shutil.which("mmdebstrap"), secret))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    supply.get()
    assert contents(cache) == here
    (debian,) = cache.glob("downloads/debian-*.tar")
    text = debian.read_bytes()
    assert b"secret" not in text
    assert supply.address.encode() not in text
    assert here["./etc/apt/sources.list"][-1] == b"deb http://deb.debian.org/debian trixie main\n"
    assert here.keys().isdisjoint({"./etc/hostname", "./etc/resolv.conf"})


def contents(cache: Path) -> dict[str, tuple[object, ...]]:
    """Return the members of the archive that mmdebstrap wrote, without their times."""
    (path,) = cache.glob("downloads/debian-*.tar")
    with tarfile.open(path) as archive:
        return {
            each.name: (
                *(each.type, each.mode, each.uid, each.gid, each.uname, each.gname, each.linkname),
                archive.extractfile(each).read() if each.isreg() else b"",  # type: ignore[union-attr]
            )
            for each in archive
        }


@pytest.mark.parametrize("supply", ["docker://"], indirect=True)
def test_policy_for_signatures_is_respected(
    supply: Supply, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that containers-policy.json(5) refuses is not used, even if its digest is right."""
    policy = tmp_path / ".config/containers/policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text('{"default": [{"type": "reject"}]}')
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ImageError, match="rejected by policy"):
        supply.get()
    assert kept(cache) == set()


def test_the_document_names_every_supply() -> None:
    (table,) = re.findall(
        r"\n## Downloads and their verification\n.*?\n(\|.*?)\n\n", SECURITY.read_text(), re.DOTALL
    )
    last = [row.split("|")[-2] for row in table.splitlines()[2:]]
    tried = [name for cell in last for name in re.findall(r"`([^`]+)`", cell)]
    assert sorted(tried) == sorted(SUPPLIES)

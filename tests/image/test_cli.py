"""Tests of `microvm image` on the command line."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.image import layers, oci

from microvm.cli.properties import short_name
from microvm.cli.verbs.image import image
from microvm.errors import ImageError
from microvm.images import FORMAT, load

COLUMNS = ["NAME", "DIGEST", "BASE", "SIZE", "CREATED"]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(image, [str(each) for each in arguments])


@pytest.fixture
def built(archive: Path, kernel: Path) -> Path:
    """Return the folder of an image that the command has built."""
    result = run("build", "--rootfs", archive, "--kernel", kernel)
    assert result.exit_code == 0, result.output
    return Path(result.stdout.splitlines()[-1])


def test_build_prints_the_path_alone_on_stdout(
    archive: Path, kernel: Path, cache: Path, templates: list[str]
) -> None:
    result = run("build", "--rootfs", archive, "--kernel", kernel)
    assert templates == [Path(result.stdout.rstrip("\n")).name]
    assert Path(result.stdout.rstrip("\n")).parent == cache / "images"
    assert "microvm: compiling sandboxd" in result.stderr
    again = run("build", "--rootfs", archive, "--kernel", kernel)
    assert again.stdout == result.stdout
    assert again.stderr == ""


def test_build_makes_the_folder_named(
    archive: Path, kernel: Path, tmp_path: Path, templates: list[str]
) -> None:
    output = tmp_path / "out"
    result = run("build", "--rootfs", archive, "--kernel", kernel, "-o", output)
    assert templates == []
    assert result.stdout == f"{output}\n"
    assert (output / "manifest.json").is_file()


def test_ls_in_columns(built: Path) -> None:
    manifest = built / "manifest.json"
    base = '"base": "alpine-3.20.3'
    manifest.write_text(manifest.read_text().replace(base, f"{base} --package a"))
    os.utime(manifest, (time.time() - 7200,) * 2)
    header, line = run("ls").stdout.splitlines()
    assert header.split() == COLUMNS
    assert line.split()[:3] == [short_name(built.name), built.name[-12:], "alpine-3.20.3"]
    assert line.endswith(" MB  2 hours ago")
    line = run("ls", "--no-trunc").stdout.splitlines()[1]
    shown = [built.name, built.name[-12:], "alpine-3.20.3 --package a", "6.1.2-test"]
    assert re.split(r" {2,}", line)[:4] == shown
    assert datetime.fromisoformat(re.split(r" {2,}", line)[6]).timestamp() < time.time() - 7199


def test_created_is_the_time_of_the_build(built: Path) -> None:
    os.utime(built / "manifest.json", (86400, 86400))
    os.utime(built)  # the size on the disk changes when another image shares a file
    (facts,) = json.loads(run("ls", "--json").stdout)
    assert datetime.fromisoformat(facts["created"]).timestamp() == 86400


def test_a_line_for_each_tag(built: Path) -> None:
    for tag in ("python:3.13", "python"):
        assert run("tag", built.name[-12:-6], tag).exit_code == 0
    lines = [line.split()[:2] for line in run("ls").stdout.splitlines()[1:]]
    assert lines == [["python:3.13", built.name[-12:]], ["python:latest", built.name[-12:]]]
    assert run("ls", "-q").stdout == f"{built.name}\n"
    (facts,) = json.loads(run("ls", "--json").stdout)
    assert facts["tags"] == ["python:3.13", "python:latest"]
    assert facts["size"] > facts["shared"] == 0


def test_unusable_images_are_listed_and_removed(built: Path) -> None:
    manifest = built / "manifest.json"
    text = manifest.read_text()
    for change, word, error in (
        ('"format": 1', "outdated", "another version of microvm wrote it"),
        ("", "damaged", "config is missing, or unknown"),
    ):
        manifest.write_text(
            text.replace(f'"format": {FORMAT}', change) if change else f'{{"format": {FORMAT}}}'
        )
        assert run("ls").stdout.splitlines()[1].split()[1:3] == [built.name[-12:], word]
        (facts,) = json.loads(run("ls", "--json").stdout)
        assert f"(`microvm image rm {built.name}` removes it" in facts["error"]
        refused = run("inspect", built.name).exception
        assert isinstance(refused, ImageError)
        assert word == "damaged" or error in refused.message
    assert run("rm", built.name[-12:]).stdout == f"Deleted: {built.name}\n"


def test_inspect_for_people_and_as_json(built: Path) -> None:
    run("tag", built.name, "python")
    text = run("inspect", "python").stdout
    assert f"name: {built.name}\ntags:\n  python:latest\n" in text
    assert "\nconfig:\n  env: none\n" in text
    twice = json.loads(run("inspect", "--json", "python", str(built)).stdout)
    assert [facts["source"] for facts in twice] == 2 * [
        f"alpine-3.20.3@sha256:{twice[0]['source_sha256']}"
    ]
    others = run("inspect", "--json", "node", built.name, "absent")
    assert isinstance(others.exception, ImageError)
    assert [facts["name"] for facts in json.loads(others.stdout)] == [built.name]
    assert "microvm: no image node (" in others.stderr
    nothing = run("inspect", "--json", "node")
    assert isinstance(nothing.exception, ImageError)
    assert nothing.stdout == ""


def test_history_begins_with_the_source(built: Path) -> None:
    manifest = json.loads((built / "manifest.json").read_text())
    manifest.update(history=["--run 'id'", "--env A=\x1b[1m"], warm=[["sh", "-c", "true"]])
    (built / "manifest.json").write_text(json.dumps(manifest))
    source = manifest["source"]
    assert run("history", built.name).stdout.splitlines() == [
        f"from {source}",
        "--run 'id'",
        "--env A=\\x1b[1m",
        "warm sh -c true",
    ]
    assert json.loads(run("history", "--json", built.name).stdout) == {
        "source": source,
        "steps": manifest["history"],
        "warm": manifest["warm"],
    }


def test_export_and_import(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("tag", built.name, "python:3.13")
    file = tmp_path / "python.tar.zst"
    assert run("export", "python:3.13", "-o", file).exit_code == 0
    assert run("export", "python:3.13").stdout_bytes == file.read_bytes()
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "elsewhere"))
    imported = run("import", file)
    assert imported.stdout == "python:3.13\n"
    assert "microvm: importing alpine-3.20.3-" in imported.stderr
    again = CliRunner().invoke(image, ["import", "-q", "-", "mine"], input=file.read_bytes())
    assert (again.stdout, again.stderr) == ("mine:latest\n", "")
    assert run("ls", "-q").stdout == f"{built.name}\n"
    for tag in ("python:3.13", "mine"):
        run("rm", tag)
    assert run("import", "--max-size", "1K", file).exception.__class__ is ImageError


def test_failed_export_keeps_the_existing_file(built: Path, tmp_path: Path) -> None:
    file = tmp_path / "out" / "image"
    file.parent.mkdir()
    file.write_text("before")
    (built / "kernel").chmod(0)  # only root can read it
    data = bytearray((built / "initramfs.cpio").read_bytes())
    data[-1] ^= 1
    (built / "initramfs.cpio").chmod(0o644)
    (built / "initramfs.cpio").write_bytes(data)
    assert isinstance(run("export", built.name, "-o", file).exception, ImageError)
    assert [path.read_text() for path in file.parent.iterdir()] == ["before"]
    missing = run("export", built.name, "-o", tmp_path / "nowhere" / "image")
    assert isinstance(missing.exception, ImageError)


@pytest.mark.thorough
def test_pull_from_a_registry(
    tmp_path: Path, kernel: Path, templates: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROVM_KERNEL", str(kernel))
    (tmp_path / "registry").mkdir()
    with oci.registry(tmp_path / "registry") as address:
        names = []
        for number in (b"1", b"2"):
            layout = oci.layout(
                tmp_path / number.decode(),
                layers.tar(layers.file("etc/a", number)),
                config=("--config.cmd=id",),
            )
            target = f"docker://{address}/team/base:1"
            oci.run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:latest", target)
            pulled = run("pull", f"{address}/team/base:1")
            assert pulled.stdout == "base:1\n", pulled.exception
            found = load("base:1")
            assert found.manifest.config.cmd == ("id",)
            names.append(found.name)
            assert templates == names
        pinned = found.manifest.source.removeprefix("docker://").replace(":1@", "@")
        untagged = run("pull", "-q", pinned).stdout.rstrip("\n")
        assert load(untagged).digest == found.digest
        assert load(untagged).initramfs.samefile(found.initramfs)
        assert run("pull", f"docker://{address}/team/base:1", "mine").stdout == "mine:latest\n"
    assert load("mine") == found
    gone = {f"Deleted: {name}" for name in (names[0], untagged)}  # the newer one has the tag
    assert set(run("prune").stdout.splitlines()) == gone
    assert isinstance(run("pull", f"{address}/team/base:1").exception, ImageError)
    assert isinstance(run("pull", f"{address}/team/base:1", "../x").exception, ImageError)


@pytest.mark.parametrize(
    "arguments",
    [
        ["rm"],
        ["build", "--arch", "vax"],
        ["build", "name", "extra"],
        ["build", "name", "-o", "folder"],
        ["build", "--cmd", "'"],
        ["tag", "a"],
        ["inspect"],
        ["import"],
        ["import", "/nowhere"],
        ["import", "--max-size", "x", "-"],
    ],
)
def test_usage_errors(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2

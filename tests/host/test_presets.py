"""Tests of default options from variables and configuration files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from tests.support.ordinary import USER, only_root

from microvm.cli import parameters, presets, snapshot_parameters
from microvm.cli.preset_sources import NO_FILES, may_exist
from microvm.cli.presets import OPTIONS, Presets
from microvm.cli.verbs.config import config
from microvm.errors import UsageError
from microvm.options import ExecOptions, ImageOptions, MachineOptions, PoolChoice


@click.command()
@parameters.options(ImageOptions, "run")
@parameters.options(PoolChoice, "run")
@snapshot_parameters.from_snapshot
@parameters.options(MachineOptions, "run")
@parameters.options(ExecOptions, "run")
def run(**options: Any) -> None:
    """Print the options that `microvm run` would use."""
    given = {
        **parameters.given_options(MachineOptions, options),
        **parameters.given_options(ExecOptions, options),
    }
    click.echo(
        json.dumps({**given, "image": options["image"], "pool": options["pool"]}, default=repr)
    )


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the project's file, which does not exist yet, in the working folder."""
    below = tmp_path / "project/src"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(NO_FILES, raising=False)
    for name in OPTIONS:
        monkeypatch.delenv(presets.variable_of(name), raising=False)
    return tmp_path / "project/pyproject.toml"


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """The path of the user's file, which does not exist yet."""
    (tmp_path / "config/microvm").mkdir(parents=True)
    return tmp_path / "config/microvm/config.toml"


def parsed(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(run, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def test_the_nearest_counts(project: Path, user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def memory() -> tuple[int, str]:
        found = Presets().find("memory", "run")
        return parsed().get("memory", 256 << 20) >> 20, found.where if found else "built in"

    assert memory() == (256, "built in")
    user.write_text("memory = 105906176\n")
    assert memory() == (101, f"{user}: memory")
    user.write_text('memory = "101M"\nrun.memory = "102M"\nmap.memory = "100M"\n')
    assert memory() == (102, f"{user}: run.memory")
    project.write_text('[tool.microvm]\nmemory = "103M"\n')
    assert memory() == (103, f"{project}: tool.microvm.memory")
    project.write_text('[tool.microvm]\nmemory = "103M"\n[tool.microvm.run]\nmemory = "104M"\n')
    assert memory() == (104, f"{project}: tool.microvm.run.memory")
    monkeypatch.setenv("MICROVM_MEMORY", "106M")
    assert memory() == (106, "MICROVM_MEMORY")
    assert parsed("--memory", "107M")["memory"] == 107 << 20


def test_presets_equal_command_line_options(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user.write_text(
        'image = "python:3.13"\ncpus = 2\ndisk = "1G"\naccel = "tcg"\nconfinement = "require"\n'
        'cold = true\nconsole = "log"\nworkdir = "/w"\nuser = 1000\ntimeout = 1.5\n'
        'grace = "500ms"\nmax_output = "1K"\nmax_processes = 0\nmax_memory = "64M"\n'
        'memory = "1.5G"\narch = "aarch64"\npool = "tools"\n'
    )
    from_file = parsed()
    options = (
        "--image python:3.13 --cpus 2 --disk 1G --accel tcg --confinement require --cold "
        "--console log --workdir /w --user 1000 --timeout 1.5 --grace 500ms --max-output 1K "
        "--max-processes 0 --max-memory 64M --memory 1.5G --arch aarch64 --pool tools"
    ).split()
    assert from_file == parsed(*options)
    assert from_file.keys() >= {each.name for each in OPTIONS.values() if "run" in each.verbs}
    user.unlink()
    for name, text in zip(options[::1], [*options[1:], ""], strict=True):
        if name.startswith("--"):
            value = "yes" if text.startswith("--") else text
            monkeypatch.setenv(presets.variable_of(name[2:].replace("-", "_")), value)
    assert parsed() == from_file
    assert parsed("--no-cold")["cold"] is False


def test_preset_has_no_effect_if_the_command_line_excludes_it(user: Path) -> None:
    user.write_text('memory = "1G"\ncold = true\nimage = "python"\ngrace = "1s"\ncpus = 3\n')
    assert "grace" not in parsed()
    assert parsed("--timeout", "2s")["grace"] == 1
    from_snapshot = parsed("--from", "snap")
    assert (from_snapshot["image"], from_snapshot["cold"]) == (None, False)
    assert not from_snapshot.keys() & {"memory", "cpus"}


def _told(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        Presets()
    assert str(caught.value).startswith(f"{file}: ")
    assert "MICROVM_NO_CONFIG=1" in caught.value.hint
    return caught.value.detail


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "memroy = 1",
            ("config.toml:1:10: error: `memroy` is not an option", "did you mean `memory`"),
        ),
        ("max-memory = 1", ("did you mean `max_memory`?",)),
        ("memory = true", ("memory: True is not a size", "write 64M, 1K or 2G")),
        ("accel = 'hvf'", ("accel: it must be one of auto, kvm, tcg, not 'hvf'",)),
        ("cold = 'yes'", ("cold: it must be true or false, not 'yes'",)),
        ("bench.cpus = 3", ("`cpus` is not an option of `microvm bench`", "known: accel, ")),
        ("memory = ", ("config.toml:1:10: error: Invalid value",)),
        ("x = " + "[" * 5000, ("error: ",)),
    ],
)
def test_error_of_a_file_has_its_position(user: Path, line: str, says: tuple[str, ...]) -> None:
    detail = _told(user, line)
    for text in says:
        assert text in detail


def test_error_of_a_variable_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"memory": "1Q", "cold": "perhaps", "cpus": "0"}.items():
        monkeypatch.setenv(presets.variable_of(name), value)
        with pytest.raises(UsageError, match=rf"MICROVM_{name.upper()}: .*{value}"):
            Presets()
        monkeypatch.setenv(presets.variable_of(name), "")  # the same as no value


@pytest.mark.parametrize("name", [name for name, o in OPTIONS.items() if o.preset_by == "user"])
def test_project_file_cannot_set_risky_options(project: Path, name: str) -> None:
    for table in ("tool.microvm", "tool.microvm.run"):
        detail = _told(project, f'[{table}]\n{name} = "x"\n')
        assert f"{name}: a project's file must not set this option" in detail
        assert presets.variable_of(name) in detail


def test_options_that_a_project_may_set() -> None:
    """Before you add options here, consider a hostile project; see docs/security.md."""
    assert {name for name, o in OPTIONS.items() if o.preset_by == "project"} == {
        *("image", "memory", "cpus", "cold", "workdir", "user", "timeout", "grace"),
        *("max_processes", "max_memory", "commands"),
    }


@pytest.mark.parametrize("image", ["./x", "/etc", "x/", "../x", "~/x"])
def test_a_project_names_no_folder(project: Path, image: str) -> None:
    detail = _told(project, f'tool.microvm.image = "{image}"\n')
    assert "a project's file must name an image, not a folder" in detail
    project.write_text("tool.microvm.image = 'python:3.13'\n")
    assert parsed()["image"] == "python:3.13"


@pytest.mark.parametrize(
    "text",
    [
        "[tool.microvm]\ncpus = 2",
        "[ tool . 'microvm' ]\ncpus = 2",
        '["tool".microvm]\ncpus = 2',
        "[tool]\nmicrovm.cpus = 2",
        "[tool]\nmicrovm = {cpus = 2}",
        "tool.microvm.cpus = 2",
        "tool = {microvm = {cpus = 2}}",
        "[tool.microvm.run]\ncpus = 2",
    ],
)
def test_each_way_to_write_the_table(project: Path, text: str) -> None:
    project.write_text(text)
    assert parsed()["cpus"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[tool.microvm-proto]\nschema = 'x'",
        "[tool.microvm_other]",
        "[project\n",
        "[project\ndependencies = ['microvm-proto']",
        "[tool]",
    ],
)
def test_a_project_that_says_nothing_to_us(project: Path, text: str) -> None:
    project.write_text(text)
    assert parsed().get("cpus") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[tool.microvm\nmax_memory = "20M"', ":1:14: error: Expected ']'"),
        ("tool.microvm]\ncpus = 2", ":1:13: error: Expected '='"),
        ("[[tool.microvm]]\ncpus = 2", "`microvm` must be a table"),
        ("[tool.microvm]\ncpus = 2\n[project", ":3:9: error: Expected ']'"),
        ("[microvm]\ncpus = 2", "`microvm` is not a table of pyproject.toml"),
    ],
)
def test_a_miswritten_table_of_a_project_is_an_error(project: Path, text: str, says: str) -> None:
    assert says in _told(project, text)
    assert may_exist()


def _replace(path: Path, create: Callable[[Path], object]) -> None:
    path.unlink()
    create(path)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: os.chown(path, USER, USER), marks=only_root),
        lambda path: path.chmod(0o666),
        lambda path: _replace(path, os.mkfifo),
        lambda path: _replace(path, lambda new: new.symlink_to("gone")),
        lambda path: os.truncate(path, 2 << 20),
    ],
    ids=["another user", "open to all", "FIFO", "link to nothing", "too long"],
)
def test_unsafe_file_is_ignored(project: Path, user: Path, spoil: Callable[[Path], None]) -> None:
    for file, text in ((project, "[tool.microvm]\ncpus = 2"), (user, "cpus = 2")):
        file.write_text(text)
        spoil(file)
    assert parsed().get("cpus") is None
    states = [file.state for file in Presets().files]
    assert len(states) == 2
    assert all(state.startswith(("ignored: ", "not there")) for state in states)


def test_files_can_be_ignored(project: Path, user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write_text("[tool.microvm]\ncpus = 2")
    user.write_text("wrong")
    monkeypatch.setenv(NO_FILES, "1")
    monkeypatch.setenv("MICROVM_MEMORY", "128M")
    assert (parsed().get("cpus"), parsed()["memory"]) == (None, 128 << 20)


def test_config_shows_origins(project: Path, user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write_text("[tool.microvm]\ncpus = 2")
    user.write_text('run.cpus = 3\naccel = "tcg"\n')
    monkeypatch.setenv("MICROVM_COLD", "1")
    shown = CliRunner().invoke(config)
    assert shown.exit_code == 0
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    of = {name: ", ".join(presets.verbs_of(option)) for name, option in OPTIONS.items()}
    assert f"cpus 2 {of['cpus']} {project}: tool.microvm.cpus" in lines
    assert f"accel tcg {of['accel']} {user}: accel" in lines
    assert f"cold 1 {of['cold']} MICROVM_COLD" in lines
    assert "memory 1G image build built in" in lines
    assert f"project's file: {project}: read" in lines
    as_json = json.loads(CliRunner().invoke(config, ["--json"]).stdout)
    assert {each["option"] for each in as_json["options"]} == OPTIONS.keys()
    cpus = next(each for each in as_json["options"] if each["option"] == "cpus")
    assert cpus == {
        "option": "cpus",
        "verbs": presets.verbs_of(OPTIONS["cpus"]),
        "value": 2,
        "source": "project",
        "file": str(project),
        "key": "tool.microvm.cpus",
    }
    assert as_json["files"][1] == {"source": "user", "file": str(user), "state": "read"}


def test_may_exist_sees_presets(project: Path, user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROVM_CACHE", "/x")
    assert not may_exist()
    project.write_text("[project]\ndependencies = ['microvm']\n[tool.microvm-proto]\n")
    assert not may_exist()
    project.write_text("[tool.microvm]\ncpus = 2\n")
    assert may_exist()
    monkeypatch.setenv(NO_FILES, "1")
    assert not may_exist()
    monkeypatch.setenv("MICROVM_CPUS", "2")
    assert may_exist()
    monkeypatch.delenv("MICROVM_CPUS")
    monkeypatch.delenv(NO_FILES)
    project.unlink()
    os.mkfifo(project)
    assert not may_exist()
    project.unlink()
    project.mkdir()
    assert not may_exist()
    user.touch()
    assert may_exist()

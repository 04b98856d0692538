"""Tests of the completion in a real bash, and of its installation."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from tests.support.captured import captured

from microvm.arches import native

_ASK = r"""
source /dev/stdin <<<"$(microvm completion bash)"
compopt() { options+=" $2"; }
while read -r line; do
    options=
    COMP_LINE=${line%|} COMP_POINT=${#COMP_LINE}
    _microvm microvm
    echo "${COMPREPLY[*]}$options"
done <"$1"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a home folder. The cache contains an image without files."""
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for folder in ("images/plain-1", "tags", "snapshots/warm", "snapshots/cold"):
        (tmp_path / "cache" / folder).mkdir(parents=True)
    (tmp_path / f"cache/tags/app:1.2@{native()}").write_text("plain-1")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run/microvm/web").mkdir(parents=True)
    (tmp_path / "run/microvm").chmod(0o700)
    (tmp_path / "source").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> str:
    return captured(arguments, check=True).stdout


@pytest.mark.thorough
def test_bash_completes_verbs_options_and_names(home: Path) -> None:
    asked = {
        "microvm ru|": ["run"],
        "microvm run --env-|": ["--env-file"],
        "microvm run --image |": ["agent", "alpine", "app:1.2", "node", "plain-1", "python"],
        "microvm run --accel=k|": ["kvm"],
        "microvm image tag app:|": ["1.2"],  # in bash, a colon ends a word
        "microvm snapshot rm cold |": ["warm"],
        "microvm cp so|": ["source", "filenames"],
        "microvm cp source w|": ["web:", "nospace"],
        "microvm cp web:so|": [],
        "microvm run --env-file so|": ["source", "filenames"],
        "microvm run --copy so|": ["source", "filenames"],
        "microvm run --console so|": ["source", "filenames"],
        "microvm image export -o so|": ["source", "filenames"],
        "microvm help wa|": ["wait"],
        "microvm help image bui|": ["build"],
    }
    (home / "run/microvm/web/machine.json").touch()
    lines = home / "lines"
    lines.write_text("".join(f"{line}\n" for line in asked))
    answers = run("bash", "-c", _ASK, "-", str(lines)).split("\n")
    assert dict(zip(asked, map(str.split, answers), strict=False)) == asked


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_once(home: Path, shell: str) -> None:
    script = run("microvm", "completion", shell)
    for _ in range(2):
        said = run("microvm", "completion", shell, "--install")
    files = [path for path in home.rglob("*") if path.is_file() and "cache" not in path.parts]
    (installed,) = [path for path in files if path.read_text() == script]
    assert f"{installed}: up to date" in said
    for startup in set(files) - {installed}:
        assert f"{startup}: already loads the script" in said
        assert startup.read_text() == f"source {installed}\n"
    if shutil.which(shell):
        assert run(shell, "-n", str(installed)) == ""


def test_startup_file_keeps_its_content(home: Path) -> None:
    startup = home / ".zshrc"
    startup.write_bytes(b"echo \xff")
    said = run("microvm", "completion", "zsh", "--install")
    script = f"{home}/.local/share/microvm/completion.zsh"
    assert startup.read_bytes() == f"echo \udcff\nsource {script}\n".encode(
        errors="surrogateescape"
    )
    assert f"{startup}: added a last line that loads the script" in said

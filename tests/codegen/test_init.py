"""Tests of `microvm-proto init`: its files pass their own tests, which find a wrong codec."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.captured import captured

from .common import Run, failure

SCHEMA = "my_probe.toml"
WRITTEN = [SCHEMA, "Makefile", "pyproject.toml", "test_protocol.c", "test_protocol.py"]
GENERATED = ["codec.py", "protocol.h", "vectors.json", "messages.py"]


def make_test(*options: str) -> subprocess.CompletedProcess[str]:
    """Run both tests with pytest and hypothesis, without our settings."""
    command = ["make", "test", f"PYTHON={sys.executable}", *options]
    environment = {"PATH": "/usr/bin:/bin", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return captured(command, env=environment)


@pytest.fixture
def probe(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a new protocol, as the working folder."""
    folder = tmp_path / "my-probe"
    assert run("init", folder).exit_code == 0
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.thorough
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_new_protocol_is_tested(
    compiler: str, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = f"{bare}/microvm-proto"
    init = [command, "init", "my-probe"]
    said = captured(init, check=True).stdout
    assert said.startswith("".join(f"wrote my-probe/{name}\n" for name in WRITTEN + GENERATED))
    assert "\n    cd my-probe\n    pip install pytest hypothesis\n    make test\n" in said
    monkeypatch.chdir("my-probe")
    assert sorted(map(str, Path().iterdir())) == sorted(WRITTEN + GENERATED)
    subprocess.run([command, "gen", "--check"], check=True)
    done = make_test("--always-make", f"CC={compiler}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " frames, 0 of them wrong\n" in done.stdout
    assert " passed in " in done.stdout


@pytest.mark.thorough
def test_both_tests_find_a_codec_that_is_not_as_the_vectors(run: Run, probe: Path) -> None:
    right = Path("vectors.json").read_text()
    Path(SCHEMA).write_text(Path(SCHEMA).read_text().replace("max = 80 ", "max = 79 "))
    assert run("gen").exit_code == 0
    Path("vectors.json").write_text(right)
    done = make_test("--ignore-errors")
    assert '\nwrong: {"name": "log, the most"' in done.stdout
    assert (
        "\nFAILED test_protocol.py::test_valid_frame_is_encoded_to_the_same_bytes[log, the most]"
        in (done.stdout)
    )


def test_generated_test_names_a_message_that_it_lacks(run: Run, probe: Path) -> None:
    with Path(SCHEMA).open("a") as schema:
        schema.write('\n[[message]]\nname = "stop"\nnumber = 4\nsender = "host"\nid = "none"\n')
    assert run("gen").exit_code == 0
    done = make_test()
    assert done.returncode != 0
    assert "add a case for the message stop to encode() in test_protocol.c\n" in done.stdout
    assert done.stdout.count("\nwrong: ") == done.stdout.count("add a case for ")
    assert "error" not in done.stderr.replace("Error 1", "")


CHANGES = {
    "a message": (
        {
            # The vectors of malformed frames have the key `code`, too.
            r"\Z": '\n[[message]]\nname = "stop"\nnumber = 4\nsender = "host"\nid = "none"\n'
            'field = [{ name = "code", type = "u8" }]\n'
        },
        {
            r"(?=\tcase MY_PROBE_TYPE_LOG:)": "\tcase MY_PROBE_TYPE_STOP:\n\t\treturn "
            "my_probe_encode_stop(again, sizeof again, MY_PROBE_VERSION, &body->stop);\n"
        },
    ),
    "datagrams": (
        {"cobs": "datagram"},
        {
            r"static uint8_t from_\w+\[.*|, from_\w+(?=\);)|\tfor \(size_t i = 0;.*\n\t": "",
            r"frame\[i\]": "frame, size",
        },
    ),
}


@pytest.mark.parametrize(
    ("schema", "test"),
    [
        pytest.param(*changes, id=name, marks=[pytest.mark.long] * (name != "a message"))
        for name, changes in CHANGES.items()
    ],
)
def test_described_changes_work(
    schema: dict[str, str], test: dict[str, str], run: Run, probe: Path
) -> None:
    for name, changes in ((SCHEMA, schema), ("test_protocol.c", test)):
        text = Path(name).read_text()
        for old, new in changes.items():
            text, count = re.subn(old, new, text)
            assert count, old
        Path(name).write_text(text)
    assert run("gen").exit_code == 0
    done = make_test("PYTEST_ADDOPTS=-k frame")  # without random messages
    assert done.returncode == 0, done.stdout + done.stderr
    assert " frames, 0 of them wrong\n" in done.stdout


@pytest.mark.parametrize("name", [WRITTEN[-1], GENERATED[0]])
def test_nothing_is_overwritten(name: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    result = run("init", tmp_path, "--name=my_probe")
    assert result.exit_code == 1
    assert f"refusing to overwrite {tmp_path / name}; " in result.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_settings_are_printed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project = tmp_path / "pyproject.toml"
    project.write_text("[project]\n")
    result = run("init", "wire it")
    assert not Path("wire it/pyproject.toml").exists()
    assert "\n    cd 'wire it'\n" in result.stdout
    lines = result.stdout.partition("add to pyproject.toml:\n\n")[2]
    project.write_text(lines.replace("    ", ""))
    assert run("gen", "--check").output == ""


@pytest.mark.parametrize("name", ["int", "My", "9", "", 'a"b', "a\nb", "a\\", "\x7f", "../up"])
def test_a_name_that_cannot_be_is_refused(name: str, run: Run, tmp_path: Path) -> None:
    assert failure(run, "init", tmp_path, f"--name={name}").startswith(
        f"microvm-proto: a protocol cannot be named {name!a}: "
    )
    assert list(tmp_path.iterdir()) == []


def test_written_files_have_the_format_of_ruff(probe: Path) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", "--isolated"], check=True)
    subprocess.run([*ruff, "format", "--isolated", "--check", "test_protocol.py"], check=True)

"""Test that runs the code of README and guides as written, from a wheel, in an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from microvm import cache as caches

pytestmark = [pytest.mark.thorough, pytest.mark.deadline(3000)]

ROOT = Path(__file__).parents[2]
STEP_TIMEOUT = 1800  # the command may have to build an image first

#: Reasons why commands that begin with these words are not run.
ELSEWHERE = {
    "pip install ": "it is installed, or this would not be from a wheel",
    "pip uninstall ": "the next documents need the installed package",
    "pip download --dest wheels 'microvm-proto": "tests/install does it with the built files",
    "pip wheel --no-deps": "no package of this name exists: tests/image/test_pip_download.py",
    "microvm kernel build": "it takes minutes: tests/image/test_kernel.py",
    "microvm bench": "it takes minutes: tests/vm/test_bench.py",
    "python -m microvm.bench": "it takes minutes, or measurements: tests/vm/test_bench.py",
    "microvm-proto explain /dev/": "it takes a serial line: tests/codegen/test_source.py",
    "microvm-proto explain capture.pcap": "it takes a capture: tests/codegen/test_capture.py",
    "microvm-proto import mavlink": "it takes MAVLink's own files: tests/codegen/test_mavlink.py",
    "microvm-proto gen common.toml": "of what that has written",
    "python grade.py": "of a thousand programs: tests/vm/test_examples.py",
    "microvm run --image web": "it serves until Ctrl-C: tests/vm/test_examples.py",
    "microvm run --image python -R": "it takes an index: tests/vm/test_examples.py",
    "tail ": "a file that grows has no end: tests/codegen/test_source.py",
}

#: Python code that other tests run, by a part of its text.
PYTHON_ELSEWHERE = {
    "def emit(": "tests/codegen/test_outside.py",
    "async def lifespan(": "tests/vm/test_server.py",
    "request.state.pool": "tests/vm/test_server.py",
    "def refresh(": "tests/vm/test_examples.py",
}

#: Replacements of placeholders in documents.
READERS = {"tcp://HOST:8786": "local:2"}

#: Documents whose printed output varies, or is shortened.
VARYING = {"docs/cache.md", "docs/json.md", "docs/logging.md"}

#: Expected exit statuses other than 0.
STATUS = {
    "microvm run --json -- sh -c 'echo hello; exit 3'": 3,
    "microvm-proto explain 05000000": 1,
}

#: Files and commands that the reader of a document is assumed to have.
SCENES: dict[str, tuple[dict[str, str], list[str]]] = {
    "README.md": ({"app.py": "print(1)\n", "docs/a.md": "# A\n"}, []),
    # The cache may hold a ready-made image of an older version, whose pip refuses to install.
    "docs/clean-machine.md": ({}, ["microvm image rm python || true"]),
    "docs/files.md": (
        {"data/in.txt": "b\na\n", "job.sh": "mkdir result; sort data/in.txt >result/out.txt\n"},
        ["mkdir src", "microvm start web", "microvm exec web -- mkdir -p /srv/result /var/log"],
    ),
    "docs/images.md": ({"app.py": "print(1)\n"}, []),
    "docs/json.md": ({}, ["microvm image build app", "microvm run --save ready -- true"]),
    "docs/protocol-tools.md": (
        {
            "pyproject.toml": '[tool.microvm-proto]\nschema = "sandboxd.toml"\n',
            "sandboxd.toml": (ROOT / "protocol/sandboxd.toml").read_text(),
        },
        [],
    ),
    "docs/pytest.md": ({}, ["microvm run --save filled -- true"]),
    "docs/scale.md": ({"JOBS": "echo 1\n"}, []),
    # The cache may hold a ready-made image of an older version of microvm, without reverse ports.
    "examples/packages/README.md": ({}, ["microvm image rm python || true"]),
}

COMMANDS = re.compile(
    r"(microvm|microvm-proto|pip|pytest|python|python3|cc|echo|tar|cat|make|cd|tail) "
)


@dataclass(frozen=True, slots=True)
class DocumentStep:
    """A step of a document: a shell command, a Python program, or a file to write.

    :ivar kind: `sh`, `python`, or `file`.
    :ivar name: name of the file.
    :ivar printed: output of the command that the document shows.
    """

    kind: str
    text: str
    name: str = ""
    printed: str = ""

    def __str__(self) -> str:
        return self.name or self.text


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Return the code blocks of a document with their language, empty for indented blocks."""
    pattern = r"^```(\w*)\n(.*?)^```$|((?:^    [^\n]*\n(?:\n(?=    ))?)+)"
    for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        language, fenced, indented = found.groups()
        yield (language, fenced) if indented is None else ("", re.sub(r"(?m)^    ", "", indented))


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Return the commands of a block, each with its output if the block shows it."""
    line = r"((?:.*\\\n)*.*)\n"
    if block.startswith("$ "):
        yield from re.findall(rf"^\$ {line}((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    else:
        for typed in re.findall(rf"^{line}", block, re.MULTILINE):
            if COMMANDS.match(typed):
                yield typed, ""


def steps(document: Path) -> Iterator[DocumentStep]:
    tests = 0
    for language, text in blocks(document.read_text()):
        named = re.match(r"(?:#|/\*) ([\w./~-]+\.\w+)(?: \*/)?\n", text)
        if named:
            yield DocumentStep("file", text, named[1])
        elif language == "python" and "def test_" in text:
            tests += 1
            yield DocumentStep("file", text, f"test_{tests}.py")
        elif language == "python" and re.search(
            r"asyncio\.run\(|^with (MicroVM|Interpreter)\(", text, re.M
        ):
            yield DocumentStep("python", text)
        elif language in ("", "sh", "console") and "[OPTIONS]" not in text:
            for command, printed in commands(text):
                if not any(command.startswith(each) for each in ELSEWHERE):
                    yield DocumentStep("sh", command, printed=printed)
    if tests:
        yield DocumentStep("sh", "pytest")


ALL = [
    str(path.relative_to(ROOT))
    for pattern in ("README.md", "docs/*.md", "examples/*/README.md")
    for path in sorted(ROOT.glob(pattern))
]
DOCUMENTS = {each: found for each in ALL if (found := list(steps(ROOT / each)))}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a virtual environment with the wheel and pytest."""
    folder = tmp_path_factory.mktemp("installed")
    build: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d"]
    subprocess.run([*build, folder], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    python, constraints = folder / "venv/bin/python", ROOT / "constraints.txt"
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--constraint", constraints]
    others = ["hatchling", "hypothesis", "psycopg[binary]"]
    others += ["pytest", "pytest-asyncio", "pytest-xdist"]
    subprocess.run([*pip, f"{wheel}[vm,dask]", *others], check=True)
    return folder / "venv/bin"


@pytest.fixture(scope="module")
def environment(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a user with an empty home and a copy of the cache."""
    home = tmp_path_factory.mktemp("home")
    cache = home / "cache"
    cache.mkdir()
    for each in ("downloads", "images", "kernels", "programs", "readymade", "tags"):
        if (caches.root() / each).exists():
            shutil.copytree(caches.root() / each, cache / each, symlinks=True)
    (home / "runtime").mkdir(mode=0o700)
    passed = {name: os.environ[name] for name in ("MICROVM_ROOTFS", "LANG") if name in os.environ}
    return {
        **passed,
        "HOME": str(home),
        "PATH": f"{installed}:{os.environ['PATH']}",
        "MICROVM_CACHE": str(cache),
        "XDG_RUNTIME_DIR": str(home / "runtime"),
    }


@pytest.fixture
def perform(
    environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[[DocumentStep], None]]:
    """Run the steps of a document in an empty folder, then stop all machines and pools."""
    folder = tmp_path

    def run(step: DocumentStep) -> None:
        nonlocal folder
        if step.kind == "file":
            path = folder / step.name.replace("~", environment["HOME"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text)
            return
        if step.text.startswith("cd "):
            folder /= step.text[3:]
            assert folder.is_dir()
            return
        if step.text.startswith("make ") and not (folder / "Makefile").exists():
            return  # it needs a checkout
        command = ["python", "-c"] if step.kind == "python" else ["sh", "-c"]
        text = step.text
        for name, value in READERS.items():
            text = text.replace(name, value)
        done = subprocess.run(
            [*command, text],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_TIMEOUT,
            check=False,
        )
        said = f"{step}\n{done.stdout}"
        wanted = next((STATUS[each] for each in STATUS if step.text.startswith(each)), 0)
        assert done.returncode == wanted, said
        assert "Traceback" not in done.stdout, said
        # The two streams may mix, and notices may appear, such as of an image that is built.
        assert Counter(step.printed.splitlines()) <= Counter(done.stdout.splitlines()), said

    yield run
    for command in ("microvm stop --all", "microvm pool stop --all"):
        run(DocumentStep("sh", command))
    Path(environment["HOME"], ".config/microvm/config.toml").unlink(missing_ok=True)


@pytest.mark.long
@pytest.mark.parametrize("document", DOCUMENTS)
def test_steps_of_a_document_work(
    document: str, perform: Callable[[DocumentStep], None], tmp_path: Path
) -> None:
    if document.startswith("examples/"):
        shutil.copytree(ROOT / "examples", tmp_path, dirs_exist_ok=True)
        perform(DocumentStep("sh", f"cd {(ROOT / document).parent.name}"))
    files, before = SCENES.get(document, ({}, []))
    for name, content in files.items():
        perform(DocumentStep("file", content, name))
    for command in before:
        perform(DocumentStep("sh", command))
    for step in DOCUMENTS[document]:
        perform(replace(step, printed="") if document in VARYING else step)


BLOCKS = [block for document in ALL for block in blocks((ROOT / document).read_text())]


@pytest.mark.parametrize("table", [ELSEWHERE, STATUS])
def test_each_exception_is_for_a_command_of_a_document(table: dict[str, object]) -> None:
    said = [command for _, block in BLOCKS for command, _ in commands(block)]
    for each in table:
        assert any(command.startswith(each) for command in said), each


def test_each_program_of_the_documents_is_run() -> None:
    done = {step.text for steps in DOCUMENTS.values() for step in steps}
    rest = [text for language, text in BLOCKS if language == "python" and text not in done]
    for each, test in PYTHON_ELSEWHERE.items():
        assert (ROOT / test).exists()
        found = [text for text in rest if each in text]
        assert found, each
        rest = [text for text in rest if text not in found]
    assert rest == []

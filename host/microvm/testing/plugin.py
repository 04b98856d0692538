"""The plugin of pytest, an entry point: fixtures, a marker, an option, and what reports show.

It is loaded in every run of pytest where this distribution is installed. So it imports nothing
more of it until a test asks for a machine.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from microvm.sync import MicroVM
    from microvm.testing.factory import MicroVMFactory
    from microvm.testing.origins import Origins
    from microvm.testing.transcript import Transcript
    from microvm.testing.wanted import MicroVMOptions, Setup

NAMES = frozenset({"microvm", "microvm_factory", "microvm_session"})
"""The fixtures that give machines."""

_NO_LOOP = (
    "an `async def` test has its machine from pytest-asyncio, 0.24 or newer, in the test's own "
    "loop; with another plugin, use `async with microvm.MicroVM()` in the test"
)
_NOT_MARKED = (
    "pytest-asyncio does not run this `async def` test: mark it with `@pytest.mark.asyncio`, or "
    'have `asyncio_mode = "auto"` in the settings of pytest'
)

# By package: those whose lines are left out, and those that run tests.
_OURS = frozenset({"microvm", "microvm_image"})
_RUNNERS = frozenset({"_pytest", "pluggy", "pytest_asyncio", *sys.stdlib_module_names})

_origins = pytest.StashKey["Origins"]()
_run = pytest.StashKey["str"]()
_transcripts = pytest.StashKey["list[Transcript]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option, and what stands for it in the project's settings."""
    help_text = (
        "what becomes of a test that needs a virtual machine where none can be had: `require` "
        "fails it, `skip` skips it and says why"
    )
    choices = ("require", "skip")
    group = parser.getgroup("microvm", "virtual machines")
    group.addoption("--microvm", choices=choices, help=f"{help_text} (default: require)")
    parser.addini("microvm", f"{help_text}; --microvm counts more", default="require")


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker, and add what `async def` tests take where pytest-asyncio is there."""
    if config.getini("microvm") not in {"require", "skip"}:
        raise pytest.UsageError("microvm, in the settings, is require or skip")
    config.addinivalue_line(
        "markers",
        "microvm(image, snapshot=..., memory=..., cpus=..., disk=..., ...): what machine the test "
        "has: its options are those of `microvm.MicroVM`, and `snapshot`, which is the name of one "
        "or one; the nearest mark counts most. Tests whose fixtures are machines have this mark, "
        'too: -m "not microvm" leaves them out.',
    )
    if config.pluginmanager.hasplugin("asyncio"):
        try:
            from microvm.testing import in_loop
        except (ImportError, TypeError):  # one that is too old, which is said when it is used
            return
        config.pluginmanager.register(in_loop, "microvm-asyncio")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests that have machines."""
    if not NAMES.isdisjoint(getattr(item, "fixturenames", ())):
        item.add_marker("microvm")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist on this host where it shares what it prepares."""
    if node.gateway.spec.popen:
        if _run not in node.config.stash:
            from tempfile import mkdtemp

            from microvm.errors import MicroVMError
            from microvm.system.private import temporary_root

            try:
                node.config.stash[_run] = mkdtemp(prefix="microvm-pytest-", dir=temporary_root())
            except MicroVMError as error:
                raise pytest.UsageError(str(error)) from error
        node.workerinput["microvm_run"] = node.config.stash[_run]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what was prepared."""
    if origins := config.stash.get(_origins, None):
        origins.close()
    if folder := config.stash.get(_run, None):
        from pathlib import Path
        from shutil import rmtree

        if any(Path(folder).iterdir()):
            from microvm.testing.run import Run

            Run(Path(folder)).remove()
        rmtree(folder, ignore_errors=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have the report of a test show of the session's machine only what the test has done."""
    for transcript in item.session.stash.get(_transcripts, ()):
        transcript.clear()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add the commands and the console of a test's machines to its report, if it has failed.

    Its traceback shows the test's own lines, and ours with `--full-trace` or `--tb=native`.
    """
    own = item.stash.get(_transcripts, [])
    if not own and _transcripts not in item.session.stash:
        yield
        return
    error = None if item.config.getoption("fulltrace") else call.excinfo
    if error is not None and (rest := _without_ours(error.tb)) is not None:
        error.traceback = type(error.traceback)(rest)
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        for transcript in (*own, *item.session.stash.get(_transcripts, ())):
            report.sections.extend(transcript.sections())
    if report.failed or call.when == "teardown":
        own.clear()


@pytest.fixture(scope="session")
def microvm_options() -> MicroVMOptions:
    """The options of all machines of the session, unless a test has a mark: override it.

    They are those of `microvm.MicroVM`, with `image`, or `snapshot`.
    """
    return {}


@pytest.fixture(scope="session")
def microvm_setup() -> Setup | None:
    """A function that prepares a machine, a `microvm.sync.MicroVM`, for all tests: override it.

    It is called once, also where pytest-xdist has several workers, and once more for each other
    image or size that tests are marked with. Each test then has a fork of that machine, with what
    it has in its memory, its processes and its files.
    """
    return None


@pytest.fixture(name="microvm_factory")
def _microvm_factory(
    request: pytest.FixtureRequest, microvm_options: MicroVMOptions, microvm_setup: Setup | None
) -> Iterator[MicroVMFactory]:
    """A function that gives a test as many machines as it wants, and ends them after it.

    It takes options over those of the test's mark: `microvm_factory(memory="1G")`. It is a
    `microvm.testing.MicroVMFactory`, and in `async def` tests, which await what it gives, an
    `AsyncMicroVMFactory`.
    """
    if loop := _loop_of(request.node):
        yield request.getfixturevalue(f"_microvm_factory_in_{loop}_loop")
        return
    from microvm.testing.factory import MicroVMFactory

    with MicroVMFactory(*factory_arguments(request, microvm_options, microvm_setup)) as factory:
        yield factory


@pytest.fixture(name="microvm")
def _microvm(request: pytest.FixtureRequest, microvm_factory: MicroVMFactory) -> MicroVM:
    """A virtual machine of the test's own: a fresh clone, or a fork of what was set up.

    It is a `microvm.sync.MicroVM`, and in `async def` tests a `microvm.MicroVM`. What machine it
    is, `@pytest.mark.microvm` says, and `microvm_options`.
    """
    if loop := _loop_of(request.node):
        machine: MicroVM = request.getfixturevalue(f"_microvm_in_{loop}_loop")
        return machine
    with microvm_factory._plain_errors():
        return microvm_factory()


@pytest.fixture(scope="session", name="microvm_session")
def _microvm_session(
    request: pytest.FixtureRequest, microvm_options: MicroVMOptions, microvm_setup: Setup | None
) -> Iterator[MicroVM]:
    """A virtual machine that all tests of the session share, for what they only read.

    It is a `microvm.sync.MicroVM`, in `async def` tests, too: each of those has its own loop.
    """
    from microvm.testing.factory import MicroVMFactory

    arguments = factory_arguments(request, microvm_options, microvm_setup)
    with MicroVMFactory(*arguments, name="microvm_session") as factory:
        with factory._plain_errors():
            machine = factory()
        yield machine


def factory_arguments(
    request: pytest.FixtureRequest, options: MicroVMOptions, setup: Setup | None
) -> tuple[Origins, Any, MicroVMOptions, Setup | None, str, list[Transcript]]:
    """Return what a factory is made of, for the node of a request: a test, or the session."""
    from microvm.testing.origins import Origins
    from microvm.testing.run import Run

    config, node = request.config, request.node
    if _origins not in config.stash:
        run = Run.joined(getattr(config, "workerinput", {}).get("microvm_run"))
        policy = config.getoption("--microvm") or config.getini("microvm")
        config.stash[_origins] = Origins(run, skips=policy == "skip")
    variant = ""
    if spec := getattr(node, "callspec", None):  # each parameter of the set-up is another one
        variant = str(spec.indices.get("microvm_setup", ""))
    transcripts = node.stash.setdefault(_transcripts, [])
    return config.stash[_origins], node, options, setup, variant, transcripts


def _without_ours(whole: TracebackType) -> TracebackType | None:
    """Leave out our own lines, and those of the standard library below them.

    :return: None for a failure that is in no code of the user's.
    """
    shown, below = [], False
    entry: TracebackType | None = whole
    while entry is not None:
        package = str(entry.tb_frame.f_globals.get("__name__")).partition(".")[0]
        below = package in _OURS or (below and package in sys.stdlib_module_names)
        if not below:
            shown.append((entry, package not in _RUNNERS))
        entry = entry.tb_next
    rest: TracebackType | None = None
    for entry, _ in reversed(shown):
        rest = type(entry)(rest, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return rest if any(is_users for _, is_users in shown) else None


def _loop_of(item: pytest.Item) -> str:
    """Return the scope of the event loop that a test is run in; empty if it is not `async`."""
    if item.config.pluginmanager.hasplugin("microvm-asyncio"):
        from microvm.testing.in_loop import scope_of

        if scope := scope_of(item):
            return scope
    if inspect.iscoroutinefunction(getattr(item, "obj", None)):
        has_loops = item.config.pluginmanager.hasplugin("microvm-asyncio")
        pytest.fail(_NOT_MARKED if has_loops else _NO_LOOP, pytrace=False)
    return ""

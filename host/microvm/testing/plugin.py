"""The plugin for pytest: fixtures, a marker, an option, and sections in reports of failed tests.

To keep other test runs fast, most modules of this package are imported when a test first uses a
machine.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import TracebackType

    from microvm.sync import MicroVM
    from microvm.testing.factory import MicroVMFactory
    from microvm.testing.origins import Origins
    from microvm.testing.transcript import Transcript
    from microvm.testing.wanted import MicroVMOptions, Setup

NAMES = frozenset({"microvm", "microvm_factory", "microvm_session"})
"""Names of the fixtures that return machines."""

_NO_LOOP = (
    "the fixtures of `async def` tests need pytest-asyncio 0.24 or newer; with another plugin, "
    "use `async with microvm.MicroVM()` in the test"
)
_NOT_MARKED = (
    "pytest-asyncio does not run this `async def` test: mark it with `@pytest.mark.asyncio`, or "
    'set `asyncio_mode = "auto"` in the configuration of pytest'
)

# `_OURS`: this library's packages, whose frames are removed from tracebacks. `_RUNNERS`: packages
# that run tests. The frames of `_RUNNERS` stay, but do not count as the user's code.
_OURS = frozenset({"microvm", "microvm_image"})
_RUNNERS = frozenset({"_pytest", "pluggy", "pytest_asyncio", *sys.stdlib_module_names})

_origins = pytest.StashKey["Origins"]()
_run = pytest.StashKey["str"]()
_transcripts = pytest.StashKey["list[Transcript]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command-line option `--microvm` and the setting `microvm` to pytest."""
    help_text = (
        "outcome of a test whose virtual machine cannot be started on this host: `require` fails "
        "the test, `skip` skips it"
    )
    choices = ("require", "skip")
    group = parser.getgroup("microvm", "virtual machines")
    group.addoption("--microvm", choices=choices, help=f"{help_text} (default: require)")
    parser.addini("microvm", f"{help_text}; --microvm takes precedence", default="require")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and if pytest-asyncio is installed, fixtures for `async def` tests."""
    if config.getini("microvm") not in {"require", "skip"}:
        raise pytest.UsageError("the setting microvm must be require or skip")
    config.addinivalue_line(
        "markers",
        "microvm(image, snapshot=..., memory=..., cpus=..., disk=..., ...): set the options of the "
        "test's machine: those of `microvm.MicroVM`, and `snapshot`, a snapshot or its name. The "
        "nearest mark takes precedence. All tests that use machines get this mark, so "
        '-m "not microvm" deselects them.',
    )
    if config.pluginmanager.hasplugin("asyncio"):
        try:
            from microvm.testing import in_loop
        # The installed pytest-asyncio is too old for the fixtures in `in_loop`. Do not register
        # them, so that only `async def` tests that use machines fail.
        except (ImportError, TypeError):
            return
        config.pluginmanager.register(in_loop, "microvm-asyncio")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Add the mark `microvm` to the tests that use machines."""
    if not NAMES.isdisjoint(getattr(item, "fixturenames", ())):
        item.add_marker("microvm")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Send the path of a folder for shared files to each pytest-xdist worker on this host."""
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
    """Remove the snapshots of prepared machines when the test run ends."""
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
    """Clear the transcripts of shared machines, because a report must describe only one test."""
    for transcript in item.session.stash.get(_transcripts, ()):
        transcript.clear()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add the commands and the console of the machines of a failed test to its report.

    Frames of this library are removed from the test's traceback, except with `--full-trace` or
    `--tb=native`.
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
    """The options of the machines of all tests. Override this fixture to set the options.

    They are the options of `microvm.MicroVM`, and `image` or `snapshot`. A mark of a test takes
    precedence.
    """
    return {}


@pytest.fixture(scope="session")
def microvm_setup() -> Setup | None:
    """A function that prepares a `microvm.sync.MicroVM` for all tests. Override this fixture.

    The function is called once, even with several workers of pytest-xdist, and once more for each
    other image or size that marks of tests choose. Each test gets a fork of the prepared machine,
    with its memory, processes and files.
    """
    return None


@pytest.fixture(name="microvm_factory")
def _microvm_factory(
    request: pytest.FixtureRequest, microvm_options: MicroVMOptions, microvm_setup: Setup | None
) -> Iterator[MicroVMFactory]:
    """A function that starts machines for a test, and stops them after it.

    Its arguments take precedence over the mark of the test, as in `microvm_factory(memory="1G")`.
    It is a `microvm.testing.MicroVMFactory`, or an `AsyncMicroVMFactory` in `async def` tests,
    which await each call.
    """
    if loop := _loop_of(request.node):
        yield request.getfixturevalue(f"_microvm_factory_in_{loop}_loop")
        return
    from microvm.testing.factory import MicroVMFactory

    with MicroVMFactory(*factory_arguments(request, microvm_options, microvm_setup)) as factory:
        yield factory


@pytest.fixture(name="microvm")
def _microvm(request: pytest.FixtureRequest, microvm_factory: MicroVMFactory) -> MicroVM:
    """A virtual machine for one test: a new clone, or a fork of the prepared machine.

    It is a `microvm.sync.MicroVM`, or a `microvm.MicroVM` in `async def` tests.
    `@pytest.mark.microvm` and `microvm_options` set its options.
    """
    if loop := _loop_of(request.node):
        machine: MicroVM = request.getfixturevalue(f"_microvm_in_{loop}_loop")
        return machine
    with microvm_factory._origins.plain_errors():
        return microvm_factory()


@pytest.fixture(scope="session", name="microvm_session")
def _microvm_session(
    request: pytest.FixtureRequest, microvm_options: MicroVMOptions, microvm_setup: Setup | None
) -> Iterator[MicroVM]:
    """A virtual machine that all tests of the session share, for tests that only read.

    It is a `microvm.sync.MicroVM`, also in `async def` tests, because each of them has its own
    event loop.
    """
    from microvm.testing.factory import MicroVMFactory

    arguments = factory_arguments(request, microvm_options, microvm_setup)
    with MicroVMFactory(*arguments, name="microvm_session") as factory:
        with factory._origins.plain_errors():
            machine = factory()
        yield machine


def factory_arguments(
    request: pytest.FixtureRequest, options: MicroVMOptions, setup: Setup | None
) -> tuple[Origins, Any, MicroVMOptions, Setup | None, str, list[Transcript]]:
    """Return the arguments of a new machine factory for the test or session in `request`."""
    from microvm.testing.origins import Origins
    from microvm.testing.run import Run

    config, node = request.config, request.node
    if _origins not in config.stash:
        run = Run.joined(getattr(config, "workerinput", {}).get("microvm_run"))
        policy = config.getoption("--microvm") or config.getini("microvm")
        config.stash[_origins] = Origins(run, skips=policy == "skip")
    variant = ""
    # If the fixture `microvm_setup` has several parameters, each of them may prepare the machine
    # differently. So each gets its own snapshot, which the index of the parameter distinguishes.
    if spec := getattr(node, "callspec", None):
        variant = str(spec.indices.get("microvm_setup", ""))
    transcripts = node.stash.setdefault(_transcripts, [])
    return config.stash[_origins], node, options, setup, variant, transcripts


def _without_ours(whole: TracebackType) -> TracebackType | None:
    """Return the traceback `whole` without frames of microvm and of modules that microvm calls.

    :return: The shorter traceback, or None if it contains no code of the user.
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
    """Return the scope of the event loop that runs a test, or "" if the test is not `async`."""
    if item.config.pluginmanager.hasplugin("microvm-asyncio"):
        from microvm.testing.in_loop import scope_of

        if scope := scope_of(item):
            return scope
    if inspect.iscoroutinefunction(getattr(item, "obj", None)):
        has_loops = item.config.pluginmanager.hasplugin("microvm-asyncio")
        pytest.fail(_NOT_MARKED if has_loops else _NO_LOOP, pytrace=False)
    return ""

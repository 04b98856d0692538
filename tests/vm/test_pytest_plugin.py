"""Tests of the pytest plugin, which run the suites of users in pytest with real machines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.polling import DEADLINE, eventually
from tests.support.processes import is_alive

from microvm.start.snapshots import STORE

pytest_plugins = "pytester"
pytestmark = pytest.mark.usefixtures("copied_cache")

FAST = ("-p", "no:hypothesispytest")  # whose import takes as long as everything else

# Each set-up writes a line with its worker into a file.
CONFTEST = """
    import os
    import pytest

    @pytest.fixture(scope="session")
    def microvm_setup():
        def prepare(vm):
            with open("set-ups", "a") as file:
                print(os.environ.get("PYTEST_XDIST_WORKER"), file=file)
            vm.write_file("/srv/data", "prepared")
        return prepare
"""

SUITE = """
    import pytest

    DATA = "/srv/data"

    @pytest.mark.parametrize("n", range(3))
    def test_each_test_gets_the_prepared_machine(microvm, n):
        assert microvm.read_file(DATA) == b"prepared"
        microvm.run(["rm", DATA], check=True)

    @pytest.mark.asyncio
    async def test_coroutines_have_a_machine_of_their_own_loop(microvm, microvm_factory):
        other = await microvm_factory()
        await other.run(["rm", DATA], check=True)
        assert await microvm.read_file(DATA) == b"prepared"

    @pytest.mark.asyncio(loop_scope="module")
    async def test_coroutines_with_a_shared_loop_have_a_machine(microvm):
        assert await microvm.read_file(DATA) == b"prepared"

    def test_one_is_shared(microvm_session):
        microvm_session.run(["true", "unseen"], check=True)

    def test_fails(microvm, microvm_session):
        microvm_session.run(["true", "seen"], check=True)
        microvm.run(["sh", "-c", "echo to console >/dev/console; echo out; echo bad >&2; exit 3"])
        with microvm.exec(["sleep", "60"]):
            assert False

    def test_fails_in_the_machine(microvm):
        microvm.write_file("/srv/new", b"")
        microvm.write_file("/proc/new", b"")
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run pytest as users do. pytest-asyncio requires one setting."""
    settings = "-o asyncio_default_fixture_loop_scope=function -p no:cacheprovider"
    return pytester.runpytest_subprocess(*settings.split(), *FAST, *arguments, timeout=120)


def shared() -> set[Path]:
    """Return the snapshots and locks that runs with several workers share."""
    return set(STORE.folder.glob("*pytest-*"))


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(CONFTEST)
    return pytester


def test_each_test_has_a_fork_and_failures_show_commands(suite: pytest.Pytester) -> None:
    suite.makepyfile(SUITE)
    result = run(suite)
    result.assert_outcomes(passed=6, failed=2)
    assert (suite.path / "set-ups").read_text() == "None\n"
    result.stdout.fnmatch_lines(
        [
            "*- microvm: commands -*",
            "$ sh -c 'echo to console *",
            "out",
            "bad",
            "[[]status 3]",
            "$ sleep 60",
            "[[]killed by SIGKILL]",
            "*- microvm: console -*",
            "to console",
            "*- microvm: commands of microvm_session -*",
            "$ true seen",
            "[[]status 0]",
            ">       microvm.write_file(*/proc/new*",
            "E       microvm.errors.*: /proc/new: * in the guest",
            "test_*.py:*: *",
            "*- microvm: commands -*",
            "# the transfer of /srv/new: status 0",
            "# the transfer of /proc/new: /proc/new: * in the guest",
        ],
        consecutive=False,
    )
    # The report leaves out lines of microvm itself.
    result.stdout.no_fnmatch_line("*microvm/sync*")
    result.stdout.no_fnmatch_line("*concurrent/futures*")
    result.stdout.no_fnmatch_line("*unseen*")
    result.stdout.no_fnmatch_line("$ rm *")


@pytest.mark.thorough
def test_workers_share_a_set_up_that_survives_a_dead_worker(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        import os
        import pytest

        @pytest.mark.parametrize("n", range(4))
        def test_it(microvm, n):
            assert microvm.read_file("/srv/data") == b"prepared"
            if n == 0:
                os._exit(1)
    """)
    before = shared()
    result = run(suite, "-n2")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*worker 'gw?' crashed while running*"])
    assert len((suite.path / "set-ups").read_text().split()) == 1
    assert shared() <= before


@pytest.mark.thorough
def test_set_up_is_repeated_if_its_machine_is_killed(suite: pytest.Pytester) -> None:
    suite.makeconftest("""
        import os
        import signal
        import pytest

        @pytest.fixture(scope="session")
        def microvm_setup():
            killed = []
            def prepare(vm):
                if not killed:
                    killed.append(vm.pid)
                    os.kill(vm.pid, signal.SIGKILL)
                vm.run(["true"], check=True)
            return prepare
    """)
    suite.makepyfile("""
        import pytest

        @pytest.mark.parametrize("n", range(3))
        def test_it(microvm, n): ...
    """)
    result = run(suite)
    result.assert_outcomes(errors=1, passed=2)
    result.stdout.fnmatch_lines(["*QEMU was killed by signal 9*"])


@contextmanager
def started(pytester: pytest.Pytester, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start pytest in a session of its own, with a test that runs in a machine and never ends."""
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize("n", range(2))
        def test_it(microvm, n):
            with open(f"{microvm.pid}.qemu", "w"):
                microvm.run(["sleep", "600"])
    """)
    command = [sys.executable, "-m", "pytest", "-p", "no:asyncio", *FAST, *arguments]
    running = subprocess.Popen(
        command, cwd=pytester.path, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        eventually(lambda: list(pytester.path.glob("*.qemu")))
        yield running
        running.wait(DEADLINE)
    finally:
        running.kill()
        running.wait()


def gone(pytester: pytest.Pytester) -> None:
    """Wait until no QEMU process of the suite exists."""
    for path in pytester.path.glob("*.qemu"):
        path.unlink()
        pid = int(path.stem)
        eventually(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]


@pytest.mark.long
def test_files_of_a_killed_run_are_removed_by_the_next(suite: pytest.Pytester) -> None:
    before = shared()
    with started(suite, "-n2") as running:
        os.killpg(running.pid, signal.SIGKILL)
    gone(suite)
    assert shared() - before
    with started(suite, "-n2") as running:
        os.killpg(running.pid, signal.SIGINT)
    gone(suite)
    assert shared() <= before

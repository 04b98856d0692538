"""Tests of the pytest plugin without machines: its imports, its messages, and a missing QEMU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from microvm import UsageError, sync
from microvm.testing.wanted import WantedMachine, merged

pytest_plugins = "pytester"


ALONE = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:hypothesispytest")

LIGHT = """
    import sys

    def test_in_a_machine(microvm): ...

    def test_without():
        loaded = {name for name in sys.modules if name.partition(".")[0] == "microvm"}
        ours = {f"microvm{name}" for name in ("", "._version", ".testing", ".testing.plugin")}
        assert loaded == ours
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run pytest as users do, without our settings."""
    return pytester.runpytest_inprocess(*ALONE, *arguments)


@pytest.fixture
def lacking(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A suite whose image does not exist."""
    monkeypatch.setenv("MICROVM_CACHE", str(pytester.path / "cache"))
    pytester.makepyfile("""
        import pytest

        @pytest.mark.microvm("absent")
        @pytest.mark.parametrize("n", range(3))
        def test_in_a_machine(microvm, n): ...

        def test_without(): ...
    """)
    return pytester


def test_tests_without_a_machine_fail_with_the_reason(lacking: pytest.Pytester) -> None:
    result = run(lacking)
    result.assert_outcomes(errors=3, passed=1)
    result.stdout.fnmatch_lines(["no machine for this test: no image absent (*)"] * 3)
    result.stdout.no_fnmatch_line("*Error*")


def test_tests_are_skipped_if_the_settings_say_so(lacking: pytest.Pytester) -> None:
    lacking.makeini("[pytest]\nmicrovm = skip")
    result = run(lacking, "-rs")
    result.assert_outcomes(skipped=3, passed=1)
    result.stdout.fnmatch_lines(["SKIPPED [[]3] *no machine for this test: no image absent*"])
    run(lacking, "--microvm=require").assert_outcomes(errors=3, passed=1)
    lacking.makeini("[pytest]\nmicrovm = perhaps")
    result = run(lacking)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: the setting microvm must be require or skip"])


def test_tests_without_a_machine_load_nothing_and_can_be_chosen(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(LIGHT)
    arguments = (*ALONE, "-m", "not microvm", "--strict-markers")
    result = pytester.runpytest_subprocess(*arguments, timeout=120)
    result.assert_outcomes(passed=1, deselected=1)


def test_async_test_without_a_plugin_names_the_plugin(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("async def test_it(microvm): ...")
    strict = "-p no:cacheprovider -p no:hypothesispytest -o asyncio_mode=strict".split()
    scope = ("-o", "asyncio_default_fixture_loop_scope=function")
    result = pytester.runpytest_inprocess(*strict, *scope)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*mark it with `@pytest.mark.asyncio`, or *asyncio_mode*"])
    result.stdout.no_fnmatch_line("*0.24*")
    run(pytester).stdout.fnmatch_lines(["*need pytest-asyncio 0.24 or newer*"])


MARKS = {
    "memry='1G'": "MicroVM() has no option 'memry'; did you mean 'memory'?",
    "memory='much'": "memory: 'much' is not a size*",
    "'one', 'two'": "pytest.mark.microvm takes one positional argument, the image",
    "image='one', snapshot='two'": "a machine starts from an image or a snapshot*",
    "snapshot='absent'": "no snapshot absent*",
}


def test_wrong_mark_is_an_error(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROVM_CACHE", str(pytester.path / "cache"))
    tests = [
        f"@pytest.mark.microvm({mark})\ndef test_{n}(microvm): ...\n"
        for n, mark in enumerate(MARKS)
    ]
    pytester.makepyfile("\n".join(["import pytest", *tests]))
    result = run(pytester)
    result.assert_outcomes(errors=len(MARKS))
    result.stdout.fnmatch_lines([f"no machine for this test: {said}" for said in MARKS.values()])
    result.stdout.no_fnmatch_line("During handling*")


def test_of_several_marks_the_nearest_counts() -> None:
    far: Any = {"image": "one", "memory": "1G", "console": Path("it")}
    assert merged([far, {"memory": "2G"}]) == {**far, "memory": "2G"}
    assert merged([far, {"image": "two"}]) == {**far, "image": "two"}
    assert merged([far, {"snapshot": "it"}]) == {"console": Path("it"), "snapshot": "it"}
    assert merged([{"snapshot": "it"}, far]) == far
    nothing: Any = {"image": None, "memory": None}
    assert merged([far, nothing]) == far


def test_machines_that_differ_are_set_up_each() -> None:
    def setup(vm: sync.MicroVM) -> None: ...

    def kind(variant: str = "", **options: Any) -> str:
        given: Any = options
        return WantedMachine.of([given], setup, variant).kind

    assert kind(memory="1G") == kind(memory=1 << 30, console=Path("it"), image=None)
    different = [
        kind(),
        kind(memory="1G"),
        kind(image="one"),
        kind(cpus=2),
        kind("1"),
        WantedMachine.of([{}], lambda vm: None).kind,
        WantedMachine.of([{}], None).kind,
    ]
    assert len(set(different)) == len(different)
    with pytest.raises(UsageError, match=r"^cold: "):
        kind(cold=True)

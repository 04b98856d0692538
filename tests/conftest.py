"""Settings for all tests: a deadline for each coroutine, and a clean environment and log."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_asyncio import is_async_test
from tests.support import checkout_cache, parameters, selection, signals
from tests.support.selection import pytest_ignore_collect
from tests.support.target import target

from microvm import arches, log
from microvm import cache as caches
from microvm.images import Image
from microvm.qemu import accel
from microvm.qemu.launch import find_qemu
from microvm_image import default

__all__ = ("pytest_ignore_collect",)

DEADLINE = 60.0 * parameters.PATIENCE

#: These tests run in another environment, which contains the frameworks.
collect_ignore = ["frameworks"]

signals.restore()

os.environ["MICROVM_NO_CONFIG"] = "1"  # the configuration of the user must not change results
for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
    del os.environ[name]  # a pytest that a test starts is no worker of this run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that select the guests of the tests."""
    guests = parser.getgroup("guests", "guests of the tests")
    guests.addoption(
        "--arch",
        choices=[*arches.ARCHES],
        help="architecture of the guests (default: that of this host)",
    )
    guests.addoption(
        "--accel",
        choices=["kvm", "tcg"],
        default="tcg",
        help="accelerator of the tests that use the same one on all hosts (default: tcg); kvm also "
        "fails if KVM does not work, or stops working",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let the commands that tests start use the selected guests and the cache of the tests, too."""
    checkout_cache.use()
    config.pluginmanager.register(selection.Summary())
    if arch := config.getoption("--arch"):
        os.environ["MICROVM_ARCH"] = arch
    parameters.choose(config.getoption("--accel"))


@pytest.fixture(scope="session", autouse=True)
def _no_fallback() -> Iterator[None]:
    """With `--accel kvm`, fail if KVM does not work, since guests would then be emulated."""
    if parameters.accelerator() != "kvm":
        yield
        return
    arch = arches.find()
    if found := accel.obstacle(arch.name):
        pytest.exit(found.text, returncode=pytest.ExitCode.USAGE_ERROR)
    probes = accel.ProbeCache(caches.root(), find_qemu(arch.name))
    probes.forget()
    yield
    assert probes.recall() is not False, "KVM has failed, so guests were emulated"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give each coroutine a deadline. If it has an event loop of its own, it may leave no task.

    Skip a test that does not run in the selected guests.
    """
    arch = target().name
    for mark in item.iter_markers("only_arch"):
        if arch not in mark.args:
            item.add_marker(pytest.mark.skip(reason=f"{arch}: {mark.kwargs['reason']}"))
    if not is_async_test(item):
        return
    test = item.obj

    @functools.wraps(test)
    async def bounded(**arguments: Any) -> None:
        [seconds] = next((mark.args for mark in item.iter_markers("deadline")), (DEADLINE,))
        async with asyncio.timeout(seconds):
            await test(**arguments)
        is_shared = any("loop_scope" in mark.kwargs for mark in item.iter_markers("asyncio"))
        assert is_shared or asyncio.all_tasks() == {asyncio.current_task()}

    item.obj = bounded


@pytest.fixture(scope="session")
def image() -> Image:
    """The default image of the selected guests, built if the cache lacks it."""
    return default(arch=target().name)


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """Remove the handlers and levels that a test set in the log, such as a command with `-v`."""
    yield
    for area in ("", *log.AREAS):
        logger = logging.getLogger(f"{log.ROOT}.{area}".rstrip("."))
        logger.setLevel(logging.NOTSET)
        for handler in logger.handlers[:]:
            logger.removeHandler(handler)

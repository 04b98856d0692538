"""Fixtures for `async def` tests, which run in the event loop that pytest-asyncio gives a test.

A test has its own event loop, or shares one with its class, module, package or session. Each
fixture is defined once for each of these scopes, and the plugin chooses the one for a test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Literal, get_args

import pytest
import pytest_asyncio

from microvm.testing import plugin

if TYPE_CHECKING:
    from microvm import MicroVM
    from microvm.testing.factory import AsyncMicroVMFactory
    from microvm.testing.wanted import MicroVMOptions, Setup

_Scope = Literal["function", "class", "module", "package", "session"]


def _define(scope: _Scope) -> None:
    """Define the fixtures for tests that share one event loop per `scope`, such as `module`."""

    async def factory(
        request: pytest.FixtureRequest, microvm_options: MicroVMOptions, microvm_setup: Setup | None
    ) -> AsyncIterator[AsyncMicroVMFactory]:
        from microvm.testing.factory import AsyncMicroVMFactory

        arguments = plugin.factory_arguments(request, microvm_options, microvm_setup)
        async with AsyncMicroVMFactory(*arguments) as made:
            yield made

    async def machine(microvm_factory: AsyncMicroVMFactory) -> MicroVM:
        with microvm_factory._origins.plain_errors():
            return await microvm_factory()

    for name, function in ("microvm_factory", factory), ("microvm", machine):
        full_name = f"_{name}_in_{scope}_loop"
        globals()[full_name] = pytest_asyncio.fixture(function, loop_scope=scope, name=full_name)


for _scope in get_args(_Scope):
    _define(_scope)


def scope_of(item: pytest.Item) -> str:
    """Return the scope of the event loop of a test, or "" if pytest-asyncio does not run it."""
    mark = item.get_closest_marker("asyncio")
    if mark is None or not pytest_asyncio.is_async_test(item):
        return ""
    given = mark.kwargs.get("loop_scope") or mark.kwargs.get("scope")
    return str(given or item.config.getini("asyncio_default_test_loop_scope"))

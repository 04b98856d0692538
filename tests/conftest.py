"""Tests may be coroutines."""

from __future__ import annotations

import asyncio
import inspect
import signal
from typing import Any

import pytest

DEADLINE = 60.0

# A shell's background job starts with the first two ignored, what nohup starts with the third, and
# what they start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine, within a deadline, and see that it leaves no task behind."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters

    async def main() -> None:
        async with asyncio.timeout(DEADLINE):
            await pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
        assert asyncio.all_tasks() == {asyncio.current_task()}

    parameters: dict[str, Any] = (
        pyfuncitem.callspec.params if hasattr(pyfuncitem, "callspec") else {}
    )
    factory = parameters.get("loop_factory")
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
    return True

"""The public types of the pytest plugin, whose fixtures give machines to tests.

The fixture `microvm` is a `microvm.sync.MicroVM`, or a `microvm.MicroVM` in `async def` tests. See
docs/pytest.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from microvm.testing.factory import AsyncMicroVMFactory, MicroVMFactory
    from microvm.testing.wanted import MicroVMOptions, Setup

__all__ = ["AsyncMicroVMFactory", "MicroVMFactory", "MicroVMOptions", "Setup"]


# pytest imports this module in every run, even if no test uses a machine. To be fast, it imports
# a name's module when the name is first used.
def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = "factory" if name.endswith("Factory") else "wanted"
    return getattr(import_module(f"microvm.testing.{module}"), name)

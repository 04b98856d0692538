"""Machines in tests: what the fixtures of the pytest plugin give and take.

`microvm` itself is a `microvm.sync.MicroVM`, and in `async def` tests a `microvm.MicroVM`. See
docs/pytest.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from microvm.testing.factory import AsyncMicroVMFactory, MicroVMFactory
    from microvm.testing.wanted import MicroVMOptions, Setup

__all__ = ["AsyncMicroVMFactory", "MicroVMFactory", "MicroVMOptions", "Setup"]


# The plugin imports this in every run of pytest, whether or not it has machines.
def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = "factory" if name.endswith("Factory") else "wanted"
    return getattr(import_module(f"microvm.testing.{module}"), name)

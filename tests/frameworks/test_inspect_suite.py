"""Inspect's own checks of a sandbox provider, as root and as a user, in two images."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from inspect_ai.util._sandbox.self_check import *  # noqa: F403

from microvm.frameworks.inspect_ai import InspectSandbox, MicroVMConfig

#: These checks remove a permission from a file and then expect an error. As root, they fail on a
#: plain host, too, because the kernel does not check the permissions of files for root.
NOT_AS_ROOT = {
    "test_read_file_not_allowed",
    "test_write_text_file_without_permissions",
    "test_write_binary_file_without_permissions",
}


def config(image: str | None, user: str | None, *, long: bool = False) -> Any:
    """Return a parameter with the configuration of a sandbox."""
    marks = [pytest.mark.long] if long else []
    name = f"{image or 'default'}-{user or 'root'}"
    return pytest.param(MicroVMConfig(image=image, user=user), marks=marks, id=name)


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="session",
    params=[
        config(None, "1000"),
        config("python", None),
        config(None, None, long=True),
        config("python", "1000", long=True),
    ],
)
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[InspectSandbox]:
    """A sandbox for all checks."""
    environments = await InspectSandbox.sample_init("check", request.param, {})
    try:
        yield environments["default"].as_type(InspectSandbox)
    finally:
        await InspectSandbox.sample_cleanup("check", request.param, environments, False)


@pytest.fixture
def sandbox_env(shared: InspectSandbox, request: pytest.FixtureRequest) -> InspectSandbox:
    """The sandbox under the name that the checks expect."""
    if shared.user is None and request.node.originalname in NOT_AS_ROOT:
        request.node.add_marker(pytest.mark.xfail(strict=True, raises=AssertionError))
    return shared

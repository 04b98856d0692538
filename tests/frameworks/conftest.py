"""Settings for the tests with frameworks, which run in an environment that contains these."""

from __future__ import annotations

import pytest
from pytest_asyncio import is_async_test

from microvm.images import Image


@pytest.fixture(scope="session", autouse=True)
def _default_image(image: Image) -> Image:
    """The default image, which is built before the tests."""
    return image


def pytest_itemcollected(item: pytest.Item) -> None:
    """Run all coroutines of this folder in one event loop, so that they can share a machine."""
    if is_async_test(item):
        item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)

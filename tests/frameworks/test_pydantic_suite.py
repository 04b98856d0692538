"""Pydantic AI's own checks of a workspace, as root and as a user, in two images."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from pydantic_ai.workspaces import WorkspaceBackend, WorkspaceRef
from pydantic_ai.workspaces.conformance import WorkspaceBackendSuite

from microvm import MicroVM
from microvm.errors import MicroVMError
from microvm.frameworks.pydantic_ai import MicroVMBackend


def options(image: str | None, user: str | None, *, long: bool = False) -> Any:
    """Return a parameter with the options of a workspace."""
    marks = [pytest.mark.long] if long else []
    name = f"{image or 'default'}-{user or 'root'}"
    return pytest.param({"image": image, "user": user}, marks=marks, id=name)


async def stop(backend: WorkspaceBackend) -> None:
    """Stop the machine of a workspace."""
    if backend.ref:
        await MicroVM.attach(backend.ref.id).stop()


@pytest.fixture(
    scope="module",
    params=[
        options(None, "1000"),
        options("python", None),
        options(None, None, long=True),
        options("python", "1000", long=True),
    ],
)
def how(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of the workspaces."""
    found: dict[str, Any] = request.param
    return found


@pytest.fixture(scope="module")
def ref(how: dict[str, Any]) -> Iterator[WorkspaceRef]:
    """The shared machine."""
    backend = MicroVMBackend(**how)
    asyncio.run(backend.working_dir())
    assert backend.ref
    yield backend.ref
    asyncio.run(stop(backend))


class TestMicroVM(WorkspaceBackendSuite):
    """The checks. Each uses a backend of its own for a machine that most of them share."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        """The event loop of microvm."""
        return "asyncio"

    @pytest.fixture
    def attach_backend(self, how: dict[str, Any]) -> Callable[[WorkspaceRef], WorkspaceBackend]:
        """Return a function that finds the machine of a reference."""
        return lambda ref: MicroVMBackend(ref=ref, **how)

    @pytest.fixture
    def backend(
        self, ref: WorkspaceRef, attach_backend: Callable[[WorkspaceRef], WorkspaceBackend]
    ) -> WorkspaceBackend:
        """A workspace in the shared machine."""
        return attach_backend(ref)

    @pytest.fixture
    def fresh_backend(self, how: dict[str, Any]) -> Iterator[Callable[[], WorkspaceBackend]]:
        """Return a function that describes a workspace. Its machine is stopped after the test."""
        made: list[WorkspaceBackend] = []

        def fresh() -> WorkspaceBackend:
            made.append(MicroVMBackend(**how))
            return made[-1]

        yield fresh
        for backend in made:
            with suppress(MicroVMError):  # the test may have stopped it
                asyncio.run(stop(backend))

    @pytest.fixture
    def destroy_environment(self) -> Callable[[WorkspaceBackend], Awaitable[None]]:
        """Return a function that stops the machine of a workspace."""
        return stop

"""A server that runs each script that it is sent in a machine of its own.

::

    uvicorn app:app
    curl --data-binary 'echo hello' http://127.0.0.1:8000/run
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI, HTTPException, Request

from microvm import ExecError, Pool

MAX_SCRIPT = 1 << 20
"""The most bytes that a script may have."""


class State(TypedDict):
    """What the server has for as long as it lives, and each request finds in its `state`."""

    pool: Pool


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """Hold a pool from the server's start until its end."""
    async with Pool() as pool:
        yield {"pool": pool}


app = FastAPI(lifespan=lifespan)


@app.post("/run")
async def run(request: Request) -> dict[str, object]:
    """Run the body by `sh`, and return its status and its output."""
    script = bytearray()
    async for chunk in request.stream():
        script += chunk
        if len(script) > MAX_SCRIPT:
            raise HTTPException(413, f"a script has at most {MAX_SCRIPT} bytes")
    pool: Pool = request.state.pool
    async with pool.machine() as vm:
        try:
            done = await vm.run(
                ["sh"], input=bytes(script), errors="replace", timeout=10, max_output="1M"
            )
        except ExecError as error:  # it ran for too long, or wrote too much
            raise HTTPException(422, str(error)) from error
    return {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

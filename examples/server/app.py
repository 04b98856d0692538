"""A server that runs each script it receives in a new machine.

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

MAX_SCRIPT = 1 << 20  # maximum number of bytes of a script


class State(TypedDict):
    """The state of the server, which each request can access as `request.state`."""

    pool: Pool


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """Create a pool when the server starts, and close it when the server stops."""
    async with Pool() as pool:
        yield {"pool": pool}


app = FastAPI(lifespan=lifespan)


@app.post("/run")
async def run(request: Request) -> dict[str, object]:
    """Run the body as a script with `sh`, and return its status and output."""
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
        except ExecError as error:  # such as an exceeded time or output limit
            raise HTTPException(422, str(error)) from error
    return {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

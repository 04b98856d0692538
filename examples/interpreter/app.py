"""A web page that runs cells of Python code: each visitor has an interpreter in a machine.

::

    uvicorn app:app
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypedDict

from cells import events
from fastapi import Cookie, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from visitors import TooManyVisitors, Visitor, Visitors

from microvm import Interpreter, MicroVMError

VISITORS = 8  # maximum number of visitors, each of which has a machine
IDLE = 600.0  # number of seconds after which an idle visitor loses the interpreter
MAX_FILE = 8 << 20  # maximum number of bytes of an uploaded file
MAX_CODE = 1 << 16  # maximum number of characters of a cell
FOLDER = "/data"  # folder of the machine for uploaded files
UPLOAD_TIMEOUT = 20  # maximum number of seconds for writing a file to the machine


class State(TypedDict):
    """The state of the server, which each request can access as `request.state`."""

    visitors: Visitors


class Code(BaseModel):
    """A cell that a visitor has typed."""

    code: str = Field(max_length=MAX_CODE)


def create() -> Interpreter:
    """Create an interpreter for a visitor, without starting it."""
    return Interpreter(packages=["matplotlib"], imports=["matplotlib.pyplot"])


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """Prepare the image and the template when the server starts, so that no visitor waits."""
    async with create():
        pass
    visitors = Visitors(create, VISITORS, IDLE)
    async with visitors.open():
        yield {"visitors": visitors}


def find_visitor(request: Request, session: Annotated[str, Cookie()] = "") -> Visitor:
    """Return the visitor who has sent a request."""
    visitors: Visitors = request.state.visitors
    if (visitor := visitors.find(session)) is None:
        raise HTTPException(401, "Your session has ended. Reload the page.")
    return visitor


Sender = Annotated[Visitor, Depends(find_visitor)]
app = FastAPI(lifespan=lifespan)


@app.exception_handler(MicroVMError)
async def fail(_: Request, error: MicroVMError) -> JSONResponse:
    """Tell the visitor why a machine could not do what was requested."""
    return JSONResponse({"detail": error.message}, 502)


@app.post("/session", status_code=204)
async def enter(
    request: Request, response: Response, session: Annotated[str, Cookie()] = ""
) -> None:
    """Start an interpreter for a new visitor."""
    visitors: Visitors = request.state.visitors
    if visitors.find(session) is not None:
        return
    try:
        token = await visitors.add()
    except TooManyVisitors:
        raise HTTPException(503, "There are too many visitors. Try again later.") from None
    response.set_cookie("session", token, httponly=True, samesite="strict")


@app.post("/cell")
async def run(code: Code, visitor: Sender) -> StreamingResponse:
    """Run a cell, and send each of its events as a line of JSON when it occurs."""
    lines = (json.dumps(event) + "\n" async for event in events(visitor, code.code))
    return StreamingResponse(lines, media_type="application/x-ndjson")


@app.post("/interrupt", status_code=204)
async def interrupt(visitor: Sender) -> None:
    """Interrupt the running cell."""
    await visitor.python.interrupt()


@app.put("/files/{name}", status_code=204)
async def upload(name: str, request: Request, visitor: Sender) -> None:
    """Write an uploaded file to the visitor's machine."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_FILE:
            raise HTTPException(413, f"A file has at most {MAX_FILE >> 20} MiB.")
    with visitor.request():
        await visitor.python.vm.write_file(
            f"{FOLDER}/{name}", bytes(content), timeout=UPLOAD_TIMEOUT
        )


app.mount("/", StaticFiles(directory=Path(__file__).with_name("page"), html=True))

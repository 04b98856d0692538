"""The MCP server of one session: it lists the tools, and calls them for the client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import cleandoc
from typing import Any, cast

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)
from pydantic import TypeAdapter, ValidationError, validate_call

from microvm._version import __version__
from microvm.cli.mcp import safe_log, texts
from microvm.cli.mcp.excerpt import excerpt
from microvm.cli.mcp.limits import ServerLimits
from microvm.cli.mcp.refusal import Refusal
from microvm.cli.mcp.session import ClientSession
from microvm.cli.mcp.tools import Tools
from microvm.concurrency.tasks import cancel
from microvm.errors import MicroVMError
from microvm.printable import printable
from microvm.units import format_size, parse_size

Content = str | list[ContentBlock]
Function = Callable[..., Awaitable[Content]]


def make_server(session: ClientSession) -> Server[dict[str, Any]]:
    """Create the MCP server that answers the requests of the client of one session."""
    functions = _functions(session)
    tools = [_describe(name, function) for name, function in functions.items()]

    async def list_tools(
        _: ServerRequestContext[dict[str, Any]], __: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=tools)

    async def call_tool(
        _: ServerRequestContext[dict[str, Any]], call: CallToolRequestParams
    ) -> CallToolResult:
        try:
            function = functions[call.name]
        except KeyError:
            return _failed(f"The server has no such tool. Its tools: {', '.join(functions)}.")
        return await _in_task(_call(function, call.arguments or {}, session.limits))

    return Server(
        "microvm",
        version=__version__,
        instructions=_instructions(session.limits),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _functions(session: ClientSession) -> dict[str, Function]:
    """Return the tools that the limits of a session allow, by their names."""
    tools, limits = Tools(session), session.limits
    names = [name for name in vars(Tools) if not name.startswith("_")]
    hidden = {
        "checkpoint": limits.max_snapshots == 0,
        "fork": limits.max_snapshots == 0,
        "forward_port": not limits.ports,
        "copy_from_host": limits.folder is None,
    }
    return {name: getattr(tools, name) for name in names if not hidden.get(name)}


def _describe(name: str, function: Function) -> Tool:
    adapter: TypeAdapter[Any] = TypeAdapter(cast(Any, function))
    schema = adapter.json_schema()
    for parameter in schema.get("properties", {}).values():
        parameter.pop("title", None)
    return Tool(name=name, description=cleandoc(function.__doc__ or ""), input_schema=schema)


async def _call(
    function: Function, arguments: dict[str, Any], limits: ServerLimits
) -> CallToolResult:
    try:
        content = await validate_call(function)(**arguments)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        return _failed(f"Wrong arguments. {'; '.join(wrong[:10])}.")
    except Refusal as error:
        return _failed(str(error), excerpt(error.output, limits.max_result))
    except MicroVMError as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"Cannot read the host's file: {error.strerror}.")
    except Exception:
        safe_log.print_traceback()
        return _failed("The server has a fault. Its standard error shows the details.")
    if isinstance(content, str):
        content = [TextContent(text=content)]
    return CallToolResult(content=content)


def _failed(message: str, output: str = "") -> CallToolResult:
    """Return the result of a call that has failed, with its output before."""
    message = printable(message)
    text = texts.with_note(output, message) if output else message
    return CallToolResult(content=[TextContent(text=text)], is_error=True)


async def _in_task(call: Awaitable[CallToolResult]) -> CallToolResult:
    """Await a call in a task of its own.

    If the client cancels the call, anyio cancels each further `await` of this task. So the call,
    whose cleanup must be able to wait, runs in another task, which is cancelled only once.
    """
    task = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            await cancel([task])
        raise


def _instructions(limits: ServerLimits) -> str:
    """Return the description of the server, for the model."""
    memory = format_size(parse_size(limits.machine["memory"]))
    return (
        "Runs commands and Python in isolated Linux virtual machines without a network. "
        f"At most {limits.max_machines} machines run at the same time, each with {memory} of "
        f"memory; a command may take {limits.timeout:g} seconds. Images: "
        f"{', '.join(limits.images)}."
    )

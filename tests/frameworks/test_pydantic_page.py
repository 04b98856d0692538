"""Test of the agent in docs/frameworks/pydantic-ai.md, with a scripted model."""

from __future__ import annotations

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from microvm import MicroVM

from .pages import names_of

COMMANDS = ["echo 'print(6 * 7)' > answer.py", "python3 answer.py", "exit 3", "cat answer.py"]
ENDS = (3, 4)
"""Numbers of results after which a run ends."""


def scripted(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Call the tool with each command, and answer with the results at the end of a run."""
    results = [
        part.content
        for message in messages
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    ]
    if len(results) in ENDS and isinstance(messages[-1].parts[-1], ToolReturnPart):
        return ModelResponse([TextPart("|".join(map(str, results)))])
    return ModelResponse([ToolCallPart("run", {"command": COMMANDS[len(results)]})])


async def test_agent_continues_in_its_machine() -> None:
    agent = names_of("pydantic-ai")["create_agent"](FunctionModel(scripted))
    first = await agent.run("What is 6 times 7?")
    assert first.output == "exit code 0\n|exit code 0\n42\n|exit code 3\n"
    ref = first.all_messages()[-1].workspace_ref
    async with MicroVM.attach(ref.id) as vm:
        try:
            assert await vm.read_file("answer.py") == b"print(6 * 7)\n"
            again = await agent.run("Is it still there?", message_history=first.all_messages())
            assert again.output.endswith("|exit code 0\nprint(6 * 7)\n")
            assert again.all_messages()[-1].workspace_ref == ref
        finally:
            await vm.stop()

"""Tests of the backend for DeepAgents, also with the tests that LangChain has for backends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from deepagents.backends.protocol import (
    ExecuteResponse,
)
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_tests.integration_tests import SandboxIntegrationTests
from tests.frameworks.pages import names_of

from microvm.frameworks.deepagents import MicroVMSandbox
from microvm.sync import MicroVM

RELATIVE = "expects relative paths; deepagents 0.7.32 returns absolute paths"
FAILING_ANYWHERE = {
    "test_glob": RELATIVE,
    "test_glob_basic_pattern": RELATIVE,
    "test_glob_hidden_files_explicitly": RELATIVE,
    "test_glob_with_character_class": RELATIVE,
    "test_glob_with_question_mark": RELATIVE,
    "test_glob_with_directories": "expects folders; deepagents 0.7.32 returns only files",
    "test_write_existing_file_fails": "expects an error; deepagents 0.7.32 overwrites the file",
}
"""Tests of langchain-tests 1.1.9 that also fail on a plain host, and the reason of each."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[MicroVMSandbox]:
    with MicroVM("python", commands=16) as vm:
        yield MicroVMSandbox(vm, user=1000, timeout=60, capture_limit="1M")


def test_execute_returns_both_streams_and_the_status(sandbox: MicroVMSandbox) -> None:
    response = sandbox.execute("echo out; echo err >&2; printf '\\377\\r\\n'; exit 3")
    assert response == ExecuteResponse("out\nerr\n\ufffd\r\n", 3)
    assert sandbox.execute("absent").exit_code == 127
    assert sandbox.execute("kill -9 $$").exit_code == 137


def test_limits_of_a_command_are_reported(sandbox: MicroVMSandbox) -> None:
    response = sandbox.execute("echo begun; sleep 60", timeout=1)
    assert response.output.startswith("begun\n")
    assert "timed out after 1 s" in response.output
    assert (response.exit_code, response.truncated) == (124, False)
    response = sandbox.execute("head -c 2000000 /dev/zero")
    assert (len(response.output), response.exit_code, response.truncated) == (1 << 20, 0, True)


def test_errors_of_files_have_the_codes_of_the_framework(sandbox: MicroVMSandbox) -> None:
    sandbox.execute("echo 1 >/tmp/closed; chmod 0 /tmp/closed")
    paths = ["/absent", "/tmp/closed", "/tmp", "/etc/passwd/x", "relative"]
    codes = ["file_not_found", "permission_denied", "is_directory", "invalid_path", "invalid_path"]
    assert [each.error for each in sandbox.download_files(paths)] == codes
    written = sandbox.upload_files([(path, b"") for path in paths])
    assert [each.error for each in written] == ["permission_denied", *codes[1:]]
    assert [each.path for each in written] == paths


class ToolCallModel(GenericFakeChatModel):
    """A model that gives its messages one after another."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self


def test_example_of_the_page_runs_several_commands_at_once() -> None:
    wait = "touch /tmp/{}; while ! [ -e /tmp/{} ]; do sleep 0.1; done; echo met {}"
    calls = [("execute", {"command": wait.format(*names)}) for names in ("abc", "bad")]
    called = [{"name": name, "args": args, "id": args["command"]} for name, args in calls]
    model = ToolCallModel(messages=iter([AIMessage("", tool_calls=called), AIMessage("met")]))
    messages = names_of("deepagents")["ask"](model, "Let two commands meet.")
    results = [each.content for each in messages if isinstance(each, ToolMessage)]
    assert [str(result).split("\n")[0] for result in results] == ["met c", "met d"]
    assert messages[-1].content == "met"


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Class-scoped fixtures")
class TestMachine(SandboxIntegrationTests):
    @pytest.fixture(scope="class")
    def sandbox(self) -> Iterator[MicroVMSandbox]:
        with MicroVM("python", commands=16) as vm:
            yield MicroVMSandbox(vm)

    @pytest.fixture(autouse=True)
    def _exclude(self, request: pytest.FixtureRequest) -> None:
        if reason := FAILING_ANYWHERE.get(request.node.name):
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

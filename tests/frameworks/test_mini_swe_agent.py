"""Tests of the environment for mini-SWE-agent."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ["MSWEA_SILENT_STARTUP"] = "1"  # the framework reads it when it is imported

from minisweagent.environments import get_environment
from minisweagent.exceptions import Submitted
from minisweagent.models.test_models import DeterministicModel, make_output
from tests.frameworks.pages import names_of

from microvm.frameworks.mini_swe_agent import MicroVMEnvironment

DONE = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


@pytest.fixture(scope="module")
def environment() -> Iterator[MicroVMEnvironment]:
    """The environment as a configuration names it."""
    name = f"{MicroVMEnvironment.__module__}.{MicroVMEnvironment.__qualname__}"
    environment = get_environment({"environment_class": name, "env": {"KEY": "value"}})
    assert isinstance(environment, MicroVMEnvironment)
    yield environment
    environment.cleanup()
    assert environment.vm.pid is None


def test_commands_return_both_streams_and_status(environment: MicroVMEnvironment) -> None:
    command = "pwd; echo $KEY >&2; printf '\\377\\r\\n'; exit 3"
    result = environment.execute({"command": command})
    assert result == {
        "output": "/root\nvalue\n\ufffd\r\n",
        "returncode": 3,
        "exception_info": "",
    }
    assert environment.execute({"command": "pwd"}, cwd="/tmp")["output"] == "/tmp\n"


def test_time_limit_is_an_exception_of_the_result(environment: MicroVMEnvironment) -> None:
    result = environment.execute({"command": "echo begun; sleep 60"}, timeout=1)
    assert (result["output"], result["returncode"]) == ("begun\n", -1)
    assert "timed out after 1 s" in result["exception_info"]


@pytest.mark.parametrize(
    ("command", "folder", "error"),
    [
        ("echo a\0b", "", "NUL"),
        (f": {'x' * (2 << 20)}", "", "at most 131071 are allowed"),
        ("true", "/absent", "cannot enter its working directory /absent"),
    ],
)
def test_commands_that_cannot_start_do_not_end_the_agent(
    environment: MicroVMEnvironment, command: str, folder: str, error: str
) -> None:
    result = environment.execute({"command": command}, folder)
    assert (result["output"], result["returncode"]) == ("", -1)
    assert error in result["exception_info"]


def test_submission_ends_the_agent(environment: MicroVMEnvironment) -> None:
    with pytest.raises(Submitted) as submitted:
        environment.execute({"command": f"{DONE}; echo patch"})
    assert submitted.value.messages[0]["extra"]["submission"] == "patch\n"


def test_prompts_describe_the_guest(environment: MicroVMEnvironment) -> None:
    variables = environment.get_template_vars(task="t")
    assert variables["system"] == "Linux"
    assert variables["release"] == environment.execute({"command": "uname -r"})["output"].strip()
    assert variables["task"] == "t"
    assert variables["image"] == "python"
    config = environment.serialize()["info"]["config"]
    assert config["environment_type"] == "microvm.frameworks.mini_swe_agent.MicroVMEnvironment"


def test_example_of_the_page_solves_a_task() -> None:
    commands = ("echo 'print(6 * 7' >a.py", "python3 a.py", "echo ')' >>a.py", "python3 a.py")
    steps = [make_output("", [{"command": each}]) for each in commands]
    steps.append(make_output("", [{"command": f"{DONE}; python3 a.py"}]))
    model = DeterministicModel(outputs=steps, cost_per_call=0)  # type: ignore[no-untyped-call]
    templates = {"system_template": "You use {{system}}.", "instance_template": "{{task}}"}
    result = names_of("mini_swe_agent")["solve"](model, "Repair a.py.", cost_limit=0, **templates)
    assert result == {"exit_status": "Submitted", "submission": "42\n"}

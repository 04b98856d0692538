"""The code executor for agents of smolagents, which runs their code in a machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from microvm.errors import InterpreterDied
from microvm.frameworks.smolagents_answer import decoded
from microvm.frameworks.versions import supported
from microvm.images import Image
from microvm.options import MachineOptions
from microvm.sync import Interpreter
from microvm.units import Duration

with supported("smolagents"):
    from smolagents import AgentLogger, LogLevel
    from smolagents.local_python_executor import CodeOutput
    from smolagents.remote_executors import RemotePythonExecutor
    from smolagents.utils import AgentError

_ANSWER = "_microvm_answer"

# The framework recognises the final answer by an exception that contains it. The interpreter cuts
# messages of exceptions, so the guest stores the answer in a variable, too.
_STORE_ANSWER = f"""
def final_answer(*args, _tool=final_answer, **kwargs):
    try:
        return _tool(*args, **kwargs)
    except BaseException as error:
        globals()["{_ANSWER}"] = getattr(error, "value", None)
        raise
"""

_MISSING = "import importlib.util; print(*(n for n in {} if not importlib.util.find_spec(n)))"

_REQUIRED = ["numpy", "pillow"]
"""Packages that the framework's definition of `final_answer` imports."""


class MicroVMExecutor(RemotePythonExecutor):  # type: ignore[misc]
    """Runs the code of a `CodeAgent` in an interpreter that has a machine of its own.

    ::

        with MicroVMExecutor(["numpy"]) as executor:
            CodeAgent(tools=[], model=model, executor=executor).run("…")

    Answers are JSON and never unpickled, because a pickle of the guest can run code on the host.

    :ivar python: The interpreter. Its methods can fork and save it, and copy files.
    """

    def __init__(
        self,
        additional_imports: Sequence[str] = (),
        logger: AgentLogger | None = None,
        *,
        image: Image | str | Path = "python",
        timeout: Duration | None = None,
        **options: Unpack[MachineOptions],
    ) -> None:
        """Start the interpreter.

        :param additional_imports: Packages to install in the image, which is built once.
        :param timeout: Maximum time of each piece of code, in seconds or as text such as `2m`.
        :param options: Options of the machine, such as `memory`.
        :raises MicroVMError: See `microvm.Interpreter`.
        """
        super().__init__(list(additional_imports), logger or AgentLogger(LogLevel.INFO))
        self._timeout = timeout
        self._definitions: dict[str, None] = {}  # a set that keeps the order
        self.installed_packages = [*_REQUIRED, *additional_imports]
        self.python = Interpreter(
            image=image,
            packages=self.installed_packages,
            imports=["numpy", "PIL.Image"],
            **options,
        )
        self.python.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.cleanup()

    def cleanup(self) -> None:
        """Stop the machine. Agents call this in their own `cleanup`."""
        self.python.close()

    def install_packages(self, additional_imports: list[str]) -> list[str]:
        """Check that the modules that a tool imports exist, because the guest has no network.

        :raises AgentError: If one is missing, or the check exceeds the time limit.
        """
        # The framework passes names of modules, except for PIL: it passes the package `pillow`.
        modules = ["PIL" if name == "pillow" else name for name in additional_imports]
        if missing := self._run(_MISSING.format(modules)).logs.split():
            text = f"the image lacks modules of a tool: use additional_imports={missing}"
            raise AgentError(text, self.logger)
        return additional_imports

    def send_tools(self, tools: dict[str, Any]) -> None:
        """Define the agent's tools in the interpreter."""
        super().send_tools(tools)
        if "final_answer" in tools:
            self.run_code_raise_errors(_STORE_ANSWER)

    def run_code_raise_errors(self, code: str) -> CodeOutput:
        """Run code that defines the agent's tools or variables. Run it again after each restart.

        :raises AgentError: If the code raises an exception.
        """
        output = self._run(code)
        self._definitions.pop(code, None)  # a definition that is repeated moves to the end
        self._definitions[code] = None
        return output

    def __call__(self, code_action: str) -> CodeOutput:
        """Run code of the model.

        :raises AgentError: If the code raises an exception or exceeds the time limit, or if the
            interpreter dies. It is then started again.
        """
        try:
            return self._run(code_action)
        except InterpreterDied as error:
            self.python.restart()
            for definition in self._definitions:
                self._run(definition)
            text = f"{error.stdout}{error.stderr}{error.message}"
            lost = "Python was started again, without the variables and files of earlier code."
            raise AgentError(f"{text}\n{lost}", self.logger) from error

    def _run(self, code: str) -> CodeOutput:
        cell = self.python.run(code, timeout=self._timeout)
        logs = cell.stdout + cell.stderr
        if cell.error is None:
            return CodeOutput(output=cell.result, logs=logs, is_final_answer=False)
        if cell.error.type.endswith(self.FINAL_ANSWER_EXCEPTION):
            answer = decoded(self.python.get(_ANSWER))
            return CodeOutput(output=answer, logs=logs, is_final_answer=True)
        limit = f"\nThe code exceeded the time limit of {self._timeout}." if cell.timed_out else ""
        raise AgentError(f"{logs}{cell.error.traceback}{limit}", self.logger)

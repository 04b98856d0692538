"""The backend for DeepAgents: the agent's commands run in a machine, which contains its files."""

from __future__ import annotations

from subprocess import STDOUT

from microvm.errors import ExecTimeout, FileError
from microvm.frameworks.resources import CAPTURE_LIMIT
from microvm.frameworks.versions import supported
from microvm.jobs.ending import status
from microvm.options import Text
from microvm.sync import Machine
from microvm.units import Duration, Size

with supported("deepagents"):
    from deepagents.backends.protocol import (
        FILE_NOT_FOUND,
        INVALID_PATH,
        IS_DIRECTORY,
        PERMISSION_DENIED,
        ExecuteResponse,
        FileDownloadResponse,
        FileUploadResponse,
    )
    from deepagents.backends.sandbox import BaseSandbox

_CODES: dict[type[OSError], str] = {
    FileNotFoundError: FILE_NOT_FOUND,
    PermissionError: PERMISSION_DENIED,
    IsADirectoryError: IS_DIRECTORY,
    NotADirectoryError: INVALID_PATH,
}


class MicroVMSandbox(BaseSandbox):
    """Backend of an agent, with the commands and the files of a machine.

    ::

        with MicroVM("python", commands=16) as vm:
            agent = create_deep_agent(model, backend=MicroVMSandbox(vm))

    The framework requires the program `python3` in the image. The caller stops the machine.

    :ivar vm: The machine. Other parts of the program may use it at the same time.
    """

    def __init__(
        self,
        vm: Machine,
        *,
        user: Text | int | None = None,
        timeout: Duration = "10m",
        capture_limit: Size = CAPTURE_LIMIT,
    ) -> None:
        """Create the backend of a running machine.

        :param user: User of the guest who runs the commands and owns the files; see `MicroVM.run`.
        :param timeout: Maximum time of a command for which the agent sets none.
        :param capture_limit: Maximum size of a command's output. The rest is dropped.
        """
        self.vm = vm
        self._user = user
        self._timeout = timeout
        self._capture_limit = capture_limit

    @property
    def id(self) -> str:
        """The id of the machine."""
        return self.vm.id

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """Run a command line in the guest's shell, and return its output and errors together.

        :param timeout: Maximum time in seconds. 0 is no limit; None is the constructor's `timeout`.
        """
        try:
            result = self.vm.run(
                command,
                shell=True,
                stderr=STDOUT,
                user=self._user,
                timeout=self._timeout if timeout is None else timeout or None,
                capture_limit=self._capture_limit,
            )
        except ExecTimeout as error:
            text = error.stdout.decode(errors="replace")
            return ExecuteResponse(f"{text}\n{error}", error.exit_status)
        code = status(result.returncode, None)
        return ExecuteResponse(result.stdout.decode(errors="replace"), code, result.truncated)

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        """Write files at absolute paths. Missing folders are created."""
        return [FileUploadResponse(path, self._upload(path, data)) for path, data in files]

    def _upload(self, path: str, data: bytes) -> str | None:
        """Write a file, and return None or the framework's code of the error."""
        if not path.startswith("/"):
            return INVALID_PATH
        try:
            self.vm.write_file(path, data, user=self._user)
        except FileError as error:
            return _code(error)
        return None

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        """Read files at absolute paths, of at most 64 MiB each."""
        return [self._download(path) for path in paths]

    def _download(self, path: str) -> FileDownloadResponse:
        if not path.startswith("/"):
            return FileDownloadResponse(path, error=INVALID_PATH)
        try:
            return FileDownloadResponse(path, self.vm.read_file(path, user=self._user))
        except FileError as error:
            return FileDownloadResponse(path, error=_code(error))


def _code(error: FileError) -> str:
    """Return the framework's code of an error, or the text of an error that has no code."""
    codes = (code for kind, code in _CODES.items() if isinstance(error, kind))
    return next(codes, str(error))

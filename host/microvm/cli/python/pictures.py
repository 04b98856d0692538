"""The pictures that a cell displays, which a terminal cannot show."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from microvm.cli import standard_streams
from microvm.errors import MicroVMError
from microvm.interpreter.cell import Display
from microvm.units import format_size

# The MIME types of pictures, the best first, and the suffixes of their files.
_ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/svg+xml": "svg"}


class Pictures:
    """Saves pictures in a folder, or notifies the user that they are not saved.

    :param folder: The folder, or None to save nothing. It is created if it does not exist.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._numbers = count(1)

    def take(self, display: Display) -> None:
        """Save the picture of a display, if it has one.

        :raises MicroVMError: If the picture cannot be saved.
        """
        kind = next((each for each in _ENDINGS if each in display.data), None)
        if kind is None:
            return
        data = display.data[kind]
        described = f"a picture ({kind}, {format_size(len(data))})"
        if self._folder is None:
            standard_streams.notify(f"{described} is not shown: --displays DIR saves pictures")
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._save(self._folder, _ENDINGS[kind], data)
        except OSError as error:
            raise MicroVMError(f"cannot save {described}: {error.strerror}") from error
        standard_streams.notify(f"{described} is saved as {path}")

    def _save(self, folder: Path, ending: str, data: bytes) -> Path:
        """Write a new file in the folder, and return its path. The cell cannot choose its name."""
        for number in self._numbers:
            path = folder / f"{number}.{ending}"
            try:
                with path.open("xb") as file:
                    file.write(data)
            except FileExistsError:
                continue
            return path
        raise AssertionError  # the numbers never end

"""The function `display`, and the representations of objects that it sends to the host."""

from __future__ import annotations

import sys

from interpreter.channel import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

METHODS = {
    "_repr_html_": "text/html",
    "_repr_markdown_": "text/markdown",
    "_repr_latex_": "text/latex",
    "_repr_svg_": "image/svg+xml",
    "_repr_png_": "image/png",
    "_repr_jpeg_": "image/jpeg",
    "_repr_pdf_": "application/pdf",
    "_repr_json_": "application/json",
    "_repr_javascript_": "application/javascript",
}
"""The methods of objects that return a representation, as notebooks call them."""

BINARY = ("image/png", "image/jpeg", "application/pdf")
"""The MIME types whose data is in base64 if a method returns the data as text."""


class Displays:
    """Sends representations of objects to the host."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def display(self, *objects: object) -> None:
        """Send the text of each object, and all its other representations."""
        for each in objects:
            text = {} if type(each) is str else representations(each)
            self._send({"text/plain": str(each) if type(each) is str else repr(each), **text})

    def show_value(self, value: object) -> None:
        """Send the value of a cell's last expression, unless text is its only representation."""
        found = representations(value)
        found.pop("text/plain", None)
        self._send(found, of_value=True)

    def show_figures(self) -> None:
        """Send the open figures of matplotlib as PNG, and close them."""
        pyplot: Any = sys.modules.get("matplotlib.pyplot")
        for number in pyplot.get_fignums() if pyplot else ():
            self._send({"image/png": png(pyplot.figure(number))})
        if pyplot:
            pyplot.close("all")

    def _send(self, bundle: dict[str, Any], of_value: bool = False) -> None:
        first = True
        for mime, data in bundle.items():
            self._channel.send_text("display", (first, of_value, str(mime)), to_bytes(mime, data))
            first = False


def representations(shown: object) -> dict[str, bytes]:
    """Return the representations of an object, by MIME type.

    If a method of the object raises an exception, print the traceback, and leave out the
    representation that the method should return.
    """
    kind = type(shown)
    if kind.__module__ == "builtins" or issubclass(kind, type):
        return {}
    found: dict[str, bytes] = {}
    figure = sys.modules.get("matplotlib.figure")
    if figure and isinstance(shown, figure.Figure):
        found["image/png"] = png(shown)
    if getattr(kind, "_repr_mimebundle_", None):
        found.update(_attempt(_bundle, kind, shown) or {})
    for name, mime in METHODS.items():
        if getattr(kind, name, None) and mime not in found:
            data = _attempt(_representation, kind, shown, name, mime)
            if data is not None:
                found[mime] = data
    return found


def _attempt(function: Callable[..., Any], *arguments: object) -> Any:
    """Return the result of a function. If it raises an exception, print this, and return None."""
    try:
        return function(*arguments)
    except Exception:
        import traceback

        traceback.print_exc()
        return None


def _bundle(kind: Any, shown: object) -> dict[str, bytes]:
    bundle = _without_metadata(kind._repr_mimebundle_(shown, include=None, exclude=None))
    return {str(mime): to_bytes(mime, data) for mime, data in (bundle or {}).items()}


def _representation(kind: Any, shown: object, name: str, mime: str) -> bytes | None:
    data = _without_metadata(getattr(kind, name)(shown))
    return None if data is None else to_bytes(mime, data)


def _without_metadata(answer: Any) -> Any:
    return answer[0] if isinstance(answer, tuple) else answer


def png(figure: Any) -> bytes:
    """Return a figure of matplotlib as PNG."""
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    return buffer.getvalue()


def to_bytes(mime: str, data: Any) -> bytes:
    """Return the bytes of a representation, which a method has returned as text, bytes or JSON."""
    if isinstance(data, str):
        if mime in BINARY:
            from binascii import a2b_base64

            return a2b_base64(data)
        return str.encode(data, "utf-8", "backslashreplace")
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    import json

    return json.dumps(data).encode()

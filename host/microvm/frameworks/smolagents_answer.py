"""Decodes the final answer of an agent of smolagents, which a hostile guest may have written."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import Any

from microvm.frameworks.versions import supported

with supported("smolagents"):
    from PIL import Image
    from smolagents.serialization import SafeSerializer, SerializationError

# Elements of these types have at most 32 bytes. An array of texts has no such limit, because each
# of its elements has the size of the longest text: a short answer could fill the host's memory.
_NUMBERS = re.compile(r"bool|(u?int|float|complex)\d{1,3}|[<>][iufc]\d{1,2}")

_MAX_PIXELS = 1 << 25  # a compressed picture can be a thousand times smaller than its pixels


def decoded(answer: object) -> Any:
    """Return the object that the framework has converted to JSON in the guest.

    :raises SerializationError: If the answer is a pickle, which could run code on the host, or
        contains an object that could fill the memory of the host.
    """
    prefix = SafeSerializer.SAFE_PREFIX
    if not isinstance(answer, str) or not answer.startswith(prefix):
        raise SerializationError("The final answer is not JSON. Pickles are rejected.")
    found = json.loads(answer.removeprefix(prefix), object_hook=_checked)
    return SafeSerializer.from_json_safe(found)


def _checked(value: dict[str, Any]) -> Any:
    """Return a JSON object, or the picture that it contains. The framework decodes the rest."""
    kind = value.get("__type__")
    if kind == "PIL.Image":
        return _picture(value["data"])
    if kind == "ndarray":
        dtype = value["dtype"]
        known = isinstance(dtype, str) and _NUMBERS.fullmatch(dtype)
        if not known or not _has_only_numbers(value["data"]):
            raise SerializationError("The final answer contains an array that is not of numbers.")
    return value


def _has_only_numbers(data: Any) -> bool:
    return (
        all(map(_has_only_numbers, data))
        if isinstance(data, list)
        else isinstance(data, float | int)
    )


def _picture(data: str) -> Image.Image:
    # Accept only PNG: Pillow's parsers of other formats have had more security bugs, and the one
    # for EPS runs Ghostscript.
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(data)), formats=["PNG"])
    except OSError as error:
        raise SerializationError("The final answer contains a picture that is no PNG.") from error
    if picture.width * picture.height > _MAX_PIXELS:
        raise SerializationError(f"The final answer has a picture of over {_MAX_PIXELS} pixels.")
    return picture

"""Converts the errors of this library to JSON and back, so that another process can raise them.

An error is `{"kind": "StartError", "message": …, "hint": …, "detail": …, "attributes": {…}}`;
`attributes` has all other attributes of the error. A value that JSON cannot represent is an object
with one key: `{"bytes": BASE64}`, `{"tuple": […]}`, `{"QemuExit": {…}}`, `{"error": {…}}`.
"""

from __future__ import annotations

import base64
from typing import Any

from microvm import errors
from microvm.errors import FileError, MicroVMError, QemuExit, StartError, StreamError

_FIELDS = ("message", "hint", "detail")
# Attributes of an OSError. `vars` does not return them, so `to_json` adds them.
_OSERROR_FIELDS = ("errno", "strerror", "filename")


def to_json(error: BaseException) -> dict[str, Any]:
    """Return an error as JSON. The error of another library becomes a `MicroVMError`."""
    if not isinstance(error, MicroVMError):
        error = MicroVMError(f"{type(error).__name__}: {error}")
    attributes = {name: value for name, value in vars(error).items() if name not in _FIELDS}
    if isinstance(error, FileError | StartError | StreamError):
        attributes |= {name: getattr(error, name) for name in _OSERROR_FIELDS}
    kinds = (each for each in type(error).__mro__ if each.__module__ == errors.__name__)
    return {
        "kind": next(kinds).__name__,  # the error's class, or its nearest base in `microvm.errors`
        **{name: getattr(error, name) for name in _FIELDS},
        "attributes": {name: _packed(value) for name, value in attributes.items()},
    }


def from_json(value: Any) -> MicroVMError:
    """Return the error that `to_json` has converted, or a `MicroVMError` if its kind is unknown.

    If the JSON is invalid, the returned error says that it cannot be decoded.
    """
    try:
        kind = getattr(errors, value["kind"], None)
        if not (isinstance(kind, type) and issubclass(kind, MicroVMError)):
            kind = MicroVMError
        error = kind.__new__(kind, value["message"])
        MicroVMError.__init__(error, value["message"], hint=value["hint"], detail=value["detail"])
        for name, content in value["attributes"].items():
            setattr(error, name, _unpacked(content))
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError):
        return MicroVMError("the request failed, and the error cannot be decoded")
    return error


def _packed(value: object) -> Any:
    match value:
        case bytes() | bytearray():
            return {"bytes": base64.b64encode(value).decode()}
        case list():
            return [_packed(each) for each in value]
        case QemuExit():
            return {"QemuExit": value._asdict()}
        case MicroVMError():
            return {"error": to_json(value)}
        case tuple():
            return {"tuple": [_packed(each) for each in value]}
        case None | bool() | int() | float() | str():
            return value
    return str(value)


def _unpacked(value: Any) -> Any:
    match value:
        case {"bytes": text}:
            return base64.b64decode(text, validate=True)
        case {"tuple": items}:
            return tuple(_unpacked(each) for each in items)
        case {"QemuExit": fields}:
            return QemuExit(**fields)
        case {"error": error}:
            return from_json(error)
        case list():
            return [_unpacked(each) for each in value]
    return value

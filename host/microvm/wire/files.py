"""Encode and decode messages of the protocol files, version 1.

Generated from files.toml by `microvm-proto gen`. This module does no I/O. Copies files into a guest
and out of it, and changes the guest's folders, over standard input and output of the guest's
program `carry`. Each run of the program executes one request. The host sends a `request`, and then
a tree if the request writes files. The guest answers with trees or entries, and then with `done` or
`failure`.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar, dataclass_transform

VERSION = 1
DIGEST = 0x52C933514F360439
DIGESTS: Mapping[int, int] = {1: DIGEST}
HEADER_SIZE = 12
MAX_BODY = 262132
END_NAMES = ("host", "guest")

PROGRAM = "/proc/1/fd/5"
MAX_DEPTH = 128
NOW = -9223372036854775808


class Fault(enum.IntEnum):
    """The reasons for which a frame is rejected."""

    UNKNOWN_TYPE = 1
    """No message has this type."""
    BAD_DIRECTION = 2
    """Only the other side may send this message."""
    RESERVED_FLAGS = 3
    """The header's flags are not 0."""
    BAD_ID = 4
    """The id is 0 but the message needs one, or not 0 but the message has none."""
    BODY_TOO_LONG = 5
    """The body is longer than this message's maximum."""
    TRUNCATED = 6
    """A field, or the length of a field, extends beyond the body."""
    TOO_LONG = 7
    """A value of variable length is longer than its bound."""
    TOO_MANY = 8
    """A list has more items than its bound."""
    TOTAL_TOO_LONG = 9
    """The items of a list, with their lengths, exceed its total bound."""
    UNKNOWN_VALUE = 10
    """A value is not among those that its field allows."""
    EMBEDDED_NUL = 11
    """A value that must not contain a NUL byte contains one."""
    TRAILING_BYTES = 12
    """The body continues after its last field."""
    NOT_UTF8 = 13
    """Text is not valid UTF-8."""
    NOT_FINITE = 14
    """A float that must be finite is a NaN or an infinity."""
    BAD_CHECK = 15
    """The frame's check is wrong."""
    BAD_STUFFING = 16
    """The bytes between two delimiters are not a stuffed frame."""


class Action(enum.IntEnum):
    """The kind of request."""

    STAT = 1
    """The guest sends one entry without content.

    If the path is a symbolic link, the entry is that of its target.
    """
    LSTAT = 2
    """The guest sends one entry without content.

    If the path is a symbolic link, the entry is that of the link.
    """
    LIST = 3
    """The guest sends an entry without content for each file and folder in a folder."""
    READ = 4
    """The content of a regular file: all bytes that can be read now.

    A device, a FIFO or a socket has an entry without content.
    """
    GET = 5
    """The tree of a file or a folder.

    A folder's tree has only files, folders and links. Anything else has an entry without content.
    """
    PUT = 6
    """The host sends a tree, and the guest writes it."""
    LIST_TARGETS = 7
    """As `list`, but the entry of a symbolic link is that of its target.

    A link without a target has its own entry.
    """
    RESOLVE = 8
    """The guest sends one entry without content.

    Its `target` is the absolute path without symbolic links, `.` and `..`. Components of the path
    may be missing; `mode` is then 0.
    """
    MAKE_FOLDER = 9
    """The guest creates a folder."""
    REMOVE = 10
    """The guest removes a file, a symbolic link, or a folder with everything in it.

    It follows no links, and removes no mount point.
    """
    RENAME = 11
    """The guest gives a file or a folder another path, as rename(2) does.

    It replaces a file or an empty folder of this path.
    """
    MATCH = 12
    """The guest sends an entry without content for each file and folder that matches `pattern`.

    If it is a symbolic link, the entry is that of its target, or its own if it has no target.
    `target` of each entry is its path, relative to `path`. The same path can be sent several times.
    """


class Subject(enum.IntEnum):
    """The subject of a failure."""

    PATH = 1
    """The path of a file or folder."""
    USER = 2
    """The user with whose rights the request is executed."""
    OWNER = 3
    """The owner of the written files."""


class ModeRule(enum.IntEnum):
    """The rule for the mode of a file that exists before the request."""

    REQUIRE = 0
    """The file gets the mode in the tree.

    If the user may not set it, the request fails and changes nothing.
    """
    PREFER = 1
    """The file gets the mode in the tree if the user may set it; otherwise it keeps its mode."""
    KEEP = 2
    """The file keeps its mode."""


class DecodeError(Exception):
    """Raised if a frame is malformed. No further messages can be read from its stream.

    :ivar fault: Reason for which the frame was rejected.
    :ivar offset: Offset of the error in bytes from the start of the frame.
    :ivar field_number: Number of the message's field, counted from 1; 0 for the header.
    :ivar field: Name of the message's field; empty for the header.
    """

    def __init__(self, fault: Fault, offset: int, field_number: int = 0, field: str = "") -> None:
        where = f"{field} " if field else ""
        super().__init__(f"{where}{fault.name.lower()} at offset {offset}")
        self.fault = fault
        self.offset = offset
        self.field_number = field_number
        self.field = field


class EncodeError(ValueError):
    """Raised if a message cannot be encoded because a decoder would reject it.

    :ivar fault: Fault that a decoder would report.
    :ivar field: Name of the invalid field of the message, or `id` or `type` for the header.
    """

    def __init__(self, fault: Fault, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.fault = fault
        self.field = field


_T = TypeVar("_T")


class _Fields:
    # Lists the fields of a class, so that the functions of `dataclasses` work with the class. The
    # list is made on first use, because importing that module takes long.
    def __get__(self, instance: object, kind: Any) -> Any:
        from dataclasses import field, make_dataclass

        later = kind.__new__.__kwdefaults__ or {} if kind.__slots__ else {}
        listed = [
            (
                name,
                kind.__annotations__[name],
                field(default=later[name], kw_only=True) if name in later else field(),
            )
            for name in kind.__slots__
        ]
        made: Any = make_dataclass(kind.__name__, listed)
        kind.__dataclass_fields__ = made.__dataclass_fields__
        return made.__dataclass_fields__


@dataclass_transform(frozen_default=True)
class _Frozen:
    # The base class of immutable classes, which behave like frozen dataclasses. Setting each field
    # with `object.__setattr__` would take most of the time of decoding. So an instance is created
    # from a mutable class with the same slots, and its `__class__` is changed at the end.
    __slots__: ClassVar[tuple[str, ...]] = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    __dataclass_fields__: ClassVar[Any] = _Fields()
    _mutable: ClassVar[Any]

    def __init_subclass__(cls, *, init: bool = True) -> None:
        del init  # it only tells a type checker that the class has a `__new__`
        if "__setattr__" not in vars(cls):
            # Define both methods: if a class has only one of them, each call looks up the other.
            own = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
            cls._mutable = type(cls.__name__, (_Frozen,), {"__slots__": cls.__slots__, **own})

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Frozen) or type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((*self._values().values(),))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self._values().items())
        return f"{type(self).__qualname__}({values})"

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self._values()), ()

    def __replace__(self, **changes: Any) -> Self:
        return type(self)(**{**self._values(), **changes})

    def __setattr__(self, name: str, value: object) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot delete field {name!r}")


_new = object.__new__


class Request(_Frozen, init=False):
    """The request.

    It is the first message of the host, and the host sends only one.

    :ivar action: The kind of request.
    :ivar mode_rule: The rule for the mode of a file that exists before the request.
    :ivar replace: If it is 0, a file that exists is opened and written with the user's rights. A
        request that fails midway leaves the file partly written. Otherwise a new file replaces the
        file that exists, and gets its name when it is complete.
    :ivar recursive: If it is 0, `make_folder` creates no parent folders, and `remove` removes no
        folders. Otherwise `make_folder` creates all missing parent folders, and `remove` removes
        folders with everything in them.
    :ivar idempotent: If it is not 0, `make_folder` succeeds if the folder exists, and `remove`
        succeeds if nothing has this path.
    :ivar path: The path of the file or folder. At most 4095 bytes, without NUL.
    :ivar name: The name of the tree in the folder `path`, if that is a folder or ends with a slash.
        If the name is empty, `path` is the path of the tree itself. At most 255 bytes, without NUL.
    :ivar new_path: The new path of the file or folder that is renamed. At most 4095 bytes, without
        NUL.
    :ivar pattern: The pattern of `match`: components with one slash between them, which are
        compared with the names in the folder `path` and the folders below. `*` matches any
        characters, `?` one character, and `[a-z]` or `[!a-z]` one that is in a set or not. A
        character is a code point of UTF-8, or else a byte. The component `**` matches any number of
        folders and follows no symbolic links. As the last component it matches every file and
        folder below. A name that begins with a dot needs a component that does. At most 4095 bytes,
        without NUL.
    :ivar cwd: The folder to which a relative path is relative. If it is empty, this is the default
        working directory of the user's commands: the user's home, which is created if the user has
        none, or `/` if the home cannot be entered. At most 4095 bytes, without NUL.
    :ivar user: The user to act as: a name or a number, optionally with a colon and a group. If it
        is empty, the user that runs the program. At most 511 bytes, without NUL.
    :ivar owner: The owner of the files and folders that are written, in the same form as the user.
        When it is empty, new files belong to the user, and files that exist keep their owner. At
        most 511 bytes, without NUL.
    """

    TYPE: ClassVar[int] = 1
    MAX_BODY: ClassVar[int] = 17690

    __slots__ = __match_args__ = (
        "action",
        "mode_rule",
        "replace",
        "recursive",
        "idempotent",
        "path",
        "name",
        "new_path",
        "pattern",
        "cwd",
        "user",
        "owner",
    )

    action: Action
    mode_rule: ModeRule
    replace: int
    recursive: int
    idempotent: int
    path: bytes
    name: bytes
    new_path: bytes
    pattern: bytes
    cwd: bytes
    user: bytes
    owner: bytes

    def __new__(
        _cls,
        action: Action,
        mode_rule: ModeRule,
        replace: int,
        recursive: int,
        idempotent: int,
        path: bytes,
        name: bytes,
        new_path: bytes,
        pattern: bytes,
        cwd: bytes,
        user: bytes,
        owner: bytes,
    ) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.action = action
        _made.mode_rule = mode_rule
        _made.replace = replace
        _made.recursive = recursive
        _made.idempotent = idempotent
        _made.path = path
        _made.name = name
        _made.new_path = new_path
        _made.pattern = pattern
        _made.cwd = cwd
        _made.user = user
        _made.owner = owner
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            parts = (
                _5B.pack(
                    _AS_ACTION[self.action],
                    _AS_MODE_RULE[self.mode_rule],
                    self.replace,
                    self.recursive,
                    self.idempotent,
                ),
                _put(self.path, 4095, False),
                _put(self.name, 255, False),
                _put(self.new_path, 4095, False),
                _put(self.pattern, 4095, False),
                _put(self.cwd, 4095, False),
                _put(self.user, 511, False),
                _put(self.owner, 511, False),
            )
            body = b"".join(parts)
            return _HEADER.pack(len(body), 1, 0, 0) + body
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_REQUEST.write(self, version))


class Entry(_Frozen, init=False):
    """An entry of a tree: a file, a folder, a link, or anything else that has a name.

    :ivar mode: The type and permissions, as in Linux's `st_mode`.
    :ivar size: The size in bytes. The data that follow may be longer or shorter.
    :ivar mtime: The time of the last modification, in nanoseconds since 1970-01-01 UTC.
    :ivar uid: The uid of the file's owner. The guest ignores it.
    :ivar gid: The gid of the file's group. The guest ignores it.
    :ivar name: The name in the folder that contains the entry; empty for the outermost file or
        folder of a tree. At most 255 bytes, without NUL.
    :ivar target: The target of a symbolic link, or the path that answers `resolve` or `match`;
        empty for any other entry. At most 4095 bytes, without NUL.
    """

    TYPE: ClassVar[int] = 2
    MAX_BODY: ClassVar[int] = 4386

    __slots__ = __match_args__ = ("mode", "size", "mtime", "uid", "gid", "name", "target")

    mode: int
    size: int
    mtime: int
    uid: int
    gid: int
    name: bytes
    target: bytes

    def __new__(
        _cls, mode: int, size: int, mtime: int, uid: int, gid: int, name: bytes, target: bytes
    ) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.mode = mode
        _made.size = size
        _made.mtime = mtime
        _made.uid = uid
        _made.gid = gid
        _made.name = name
        _made.target = target
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            parts = (
                _IQqII.pack(self.mode, self.size, self.mtime, self.uid, self.gid),
                _put(self.name, 255, False),
                _put(self.target, 4095, False),
            )
            body = b"".join(parts)
            return _HEADER.pack(len(body), 2, 0, 0) + body
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_ENTRY.write(self, version))


class Data(_Frozen, init=False):
    """Content of the file whose entry was sent last.

    The frame has at most 256 KiB, including the header.

    :ivar data: The next bytes of the file. At most 262132 bytes.
    """

    TYPE: ClassVar[int] = 3
    MAX_BODY: ClassVar[int] = 262132

    __slots__ = __match_args__ = ("data",)

    data: bytes | memoryview

    def __new__(_cls, data: bytes | memoryview) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.data = data
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        return b"".join(self.encode_parts(version))

    def encode_parts(self, version: int = VERSION) -> tuple[bytes, bytes | memoryview]:
        """Encode the frame as two parts. The second part is `data` itself, not a copy.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            tail = _put_tail(self.data, 262132)
            head = _HEADER.pack(len(tail), 3, 0, 0)
            return head, tail
        except _FALLBACK_ON:
            return _LAYOUT_DATA.write(self, version)


class Whole(_Frozen):
    """Completes the innermost file or folder that is not complete yet."""

    TYPE: ClassVar[int] = 4
    MAX_BODY: ClassVar[int] = 0

    __slots__ = __match_args__ = ()

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _HEADER.pack(0, 4, 0, 0)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_WHOLE.write(self, version))


class Done(_Frozen):
    """The request is complete.

    No message follows.
    """

    TYPE: ClassVar[int] = 5
    MAX_BODY: ClassVar[int] = 0

    __slots__ = __match_args__ = ()

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            return _HEADER.pack(0, 5, 0, 0)
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_DONE.write(self, version))


class Failure(_Frozen, init=False):
    """The request failed.

    Incomplete new files and folders have been removed; a file that existed before may be partly
    written. No message follows.

    :ivar subject: The subject of the failure.
    :ivar error_number: The `errno`, as Linux numbers it.
    :ivar path: The path or user that the failure concerns. A path that is too long lacks its end.
        At most 4095 bytes, without NUL.
    """

    TYPE: ClassVar[int] = 6
    MAX_BODY: ClassVar[int] = 4104

    __slots__ = __match_args__ = ("subject", "error_number", "path")

    subject: Subject
    error_number: int
    path: bytes

    def __new__(_cls, subject: Subject, error_number: int, path: bytes) -> Self:
        _made: Any = _new(_cls._mutable)
        _made.subject = subject
        _made.error_number = error_number
        _made.path = path
        _made.__class__ = _cls
        _frozen: Self = _made
        return _frozen

    def encode(self, version: int = VERSION) -> bytes:
        """Encode the frame for the version that both sides agreed on.

        :raises EncodeError: Raised if the message is not valid in this version.
        """
        try:
            parts = (
                _BI.pack(_AS_SUBJECT[self.subject], self.error_number),
                _put(self.path, 4095, False),
            )
            body = b"".join(parts)
            return _HEADER.pack(len(body), 6, 0, 0) + body
        except _FALLBACK_ON:
            return b"".join(_LAYOUT_FAILURE.write(self, version))


Message: TypeAlias = Request | Entry | Data | Whole | Done | Failure


# Each layout is named after its format in `struct`; IHHI is the header.
_HEADER = struct.Struct("<IHHI")
_B = struct.Struct("<B")
_I = struct.Struct("<I")
_Q = struct.Struct("<Q")
_q = struct.Struct("<q")
_5B = struct.Struct("<5B")
_BI = struct.Struct("<BI")
_IQqII = struct.Struct("<IQqII")
_AS_ACTION = {int(value): value for value in Action}
_AS_MODE_RULE = {int(value): value for value in ModeRule}
_AS_SUBJECT = {int(value): value for value in Subject}


# The encodings of frequent lengths. Looking up a length is faster than packing it.
_LENGTHS = tuple(_I.pack(length) for length in range(1024))


class _Fallback(Exception):
    pass


# The fast code of a message handles only valid input. If it raises one of these exceptions, the
# `_Layout` of the message, which checks every rule, encodes or decodes the message again.
_FALLBACK_ON = (_Fallback, struct.error, LookupError)


def _put(value: bytes, maximum: int, nul: bool) -> bytes:
    if len(value) > maximum or (not nul and 0 in value):
        raise _Fallback
    return _LENGTHS[len(value)] + value


def _put_tail(value: bytes | memoryview, maximum: int) -> bytes | memoryview:
    if isinstance(value, memoryview):
        value = value.cast("B")
    if len(value) > maximum:
        raise _Fallback
    return value


def _take(frame: bytes, at: int, maximum: int, nul: bool) -> tuple[bytes, int]:
    (size,) = _I.unpack_from(frame, at)
    if size > maximum:
        raise _Fallback
    end = at + 4 + size
    value = frame[at + 4 : end]
    if not nul and 0 in value:
        raise _Fallback
    return value, end


def _decode_request(id_: int, frame: bytes, start: int, end: int) -> Request:
    try:
        action, mode_rule, replace, recursive, idempotent = _5B.unpack_from(frame, start)
        path, at = _take(frame, start + 5, 4095, False)
        name, at = _take(frame, at, 255, False)
        new_path, at = _take(frame, at, 4095, False)
        pattern, at = _take(frame, at, 4095, False)
        cwd, at = _take(frame, at, 4095, False)
        user, at = _take(frame, at, 511, False)
        owner, at = _take(frame, at, 511, False)
        if at != end:
            raise _Fallback
        return Request.__new__(
            Request,
            _AS_ACTION[action],
            _AS_MODE_RULE[mode_rule],
            replace,
            recursive,
            idempotent,
            path,
            name,
            new_path,
            pattern,
            cwd,
            user,
            owner,
        )
    except _FALLBACK_ON:
        return _LAYOUT_REQUEST.read(id_, frame, start, end)


def _decode_entry(id_: int, frame: bytes, start: int, end: int) -> Entry:
    try:
        mode, size, mtime, uid, gid = _IQqII.unpack_from(frame, start)
        name, at = _take(frame, start + 28, 255, False)
        target, at = _take(frame, at, 4095, False)
        if at != end:
            raise _Fallback
        return Entry.__new__(Entry, mode, size, mtime, uid, gid, name, target)
    except _FALLBACK_ON:
        return _LAYOUT_ENTRY.read(id_, frame, start, end)


def _decode_data(id_: int, frame: bytes, start: int, end: int) -> Data:
    try:
        data = memoryview(frame)[start:end]
        return Data.__new__(Data, data)
    except _FALLBACK_ON:
        return _LAYOUT_DATA.read(id_, frame, start, end)


def _decode_whole(id_: int, frame: bytes, start: int, end: int) -> Whole:
    del id_, frame, start, end
    return Whole()


def _decode_done(id_: int, frame: bytes, start: int, end: int) -> Done:
    del id_, frame, start, end
    return Done()


def _decode_failure(id_: int, frame: bytes, start: int, end: int) -> Failure:
    try:
        subject, error_number = _BI.unpack_from(frame, start)
        path, at = _take(frame, start + 5, 4095, False)
        if at != end:
            raise _Fallback
        return Failure.__new__(Failure, _AS_SUBJECT[subject], error_number, path)
    except _FALLBACK_ON:
        return _LAYOUT_FAILURE.read(id_, frame, start, end)


class _Wrong(Exception):
    # Raised for an invalid value. A decoder sets `at` to the offset of the value in the body. An
    # encoder sets `reason` to a text that says why the value is invalid.
    def __init__(self, fault: Fault, at: int = 0, reason: str = "") -> None:
        super().__init__(reason)
        self.fault = fault
        self.at = at
        self.reason = reason


class _Kind:
    # The base class of types. It decodes and encodes values in the body of a message.
    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        raise NotImplementedError

    def write(self, value: Any, version: int) -> bytes | memoryview:
        raise NotImplementedError


class _Number(_Kind):
    def __init__(self, layout: struct.Struct) -> None:
        self.layout = layout

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        try:
            return self.layout.unpack_from(body, at)[0], at + self.layout.size
        except struct.error:
            raise _Wrong(Fault.TRUNCATED, at) from None

    def write(self, value: Any, version: int) -> bytes:
        try:
            return self.layout.pack(value)
        except (struct.error, OverflowError) as error:
            raise _Wrong(Fault.UNKNOWN_VALUE, reason=f"{value}: {error}") from None


class _Constant(_Number):
    def __init__(self, layout: struct.Struct, value: int) -> None:
        super().__init__(layout)
        self.value = value

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        value, end = super().read(body, at, version)
        if value != self.value:
            raise _Wrong(Fault.UNKNOWN_VALUE, at)
        return value, end

    def write(self, value: Any, version: int) -> bytes:
        return self.layout.pack(self.value)


class _Closed(_Number):
    # A closed enum or `bool`: only the numbers in `names` are valid. The keys of `sinces` are the
    # numbers that later versions of the protocol added, and its values are these versions.
    def __init__(
        self,
        layout: struct.Struct,
        names: Mapping[int, Any],
        sinces: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__(layout)
        self.names = names
        self.sinces = sinces or {}

    def since(self, number: int) -> int:
        return self.sinces.get(number, 1)

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        number, end = super().read(body, at, version)
        try:
            value = self.names[number]
        except KeyError:
            raise _Wrong(Fault.UNKNOWN_VALUE, at) from None
        if self.since(number) > version:
            raise _Wrong(Fault.UNKNOWN_VALUE, at)
        return value, end

    def write(self, value: Any, version: int) -> bytes:
        if (since := self.since(value)) > version:
            raise _Wrong(Fault.UNKNOWN_VALUE, reason=f"{value} was added in version {since}")
        try:
            return self.layout.pack(self.names[value])
        except KeyError:
            raise _Wrong(Fault.UNKNOWN_VALUE, reason=f"{value} is not a known value") from None


def _prefix(body: memoryview, at: int) -> tuple[int, int]:
    try:
        return _I.unpack_from(body, at)[0], at + 4
    except struct.error:
        raise _Wrong(Fault.TRUNCATED, at) from None


def _check_size(size: int, maximum: int) -> None:
    if size > maximum:
        reason = f"{size} bytes, but at most {maximum} are allowed"
        raise _Wrong(Fault.TOO_LONG, reason=reason)


class _Bytes(_Kind):
    def __init__(self, maximum: int, *, nul: bool) -> None:
        self.maximum = maximum
        self.nul = nul

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        size, start = _prefix(body, at)
        if size > self.maximum:
            raise _Wrong(Fault.TOO_LONG, at)
        end = start + size
        if end > len(body):
            raise _Wrong(Fault.TRUNCATED, start)
        value = body[start:end].tobytes()
        if not self.nul and 0 in value:
            raise _Wrong(Fault.EMBEDDED_NUL, start + value.index(0))
        return value, end

    def write(self, value: Any, version: int) -> bytes:
        _check_size(len(value), self.maximum)
        if not self.nul and 0 in value:
            raise _Wrong(Fault.EMBEDDED_NUL, reason="contains a NUL byte")
        return b"".join((_I.pack(len(value)), value))


class _Tail(_Kind):
    def __init__(self, maximum: int) -> None:
        self.maximum = maximum

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        if len(body) - at > self.maximum:
            raise _Wrong(Fault.TOO_LONG, at)
        return body[at:], len(body)

    def write(self, value: Any, version: int) -> bytes | memoryview:
        flat: bytes | memoryview = value.cast("B") if isinstance(value, memoryview) else value
        _check_size(len(flat), self.maximum)
        return flat


class _Field:
    def __init__(
        self,
        number: int,
        name: str,
        kind: _Kind,
        *,
        since: int = 1,
        default: object = None,
        attribute: str = "",
    ) -> None:
        self.number = number
        self.name = name
        self.kind = kind
        self.since = since
        self.default = default
        self.attribute = attribute or name

    def is_default(self, value: object) -> bool:
        try:
            return self.kind.write(value, VERSION) == self.kind.write(self.default, VERSION)
        except _Wrong:
            return False


_NO_ID, _SOME_ID, _ANY_ID = range(1), range(1, 1 << 32), range(1 << 32)


class _Layout(Generic[_T]):
    # Decodes and encodes a message of any version, field by field, and checks every rule.
    def __init__(
        self, kind: Callable[..., _T], name: str, ids: range, *fields: _Field, since: int = 1
    ) -> None:
        self.kind = kind
        self.name = name
        self.ids = ids
        self.fields = fields
        self.since = since

    def read(self, id_: int, frame: bytes, start: int, end: int, version: int = VERSION) -> _T:
        body = memoryview(frame)[start:end]
        values: dict[str, Any] = {} if self.ids is _NO_ID else {"id": id_}
        at = 0
        for field in self.fields:
            value = field.default
            if field.since <= version:
                try:
                    value, at = field.kind.read(body, at, version)
                except _Wrong as wrong:
                    where = HEADER_SIZE + wrong.at
                    raise DecodeError(wrong.fault, where, field.number, field.name) from None
            if not isinstance(field.kind, _Constant):
                values[field.attribute] = value
        if at != len(body):
            raise DecodeError(Fault.TRAILING_BYTES, HEADER_SIZE + at)
        return self.kind(**values)

    def write(self, message: Any, version: int) -> tuple[bytes, bytes | memoryview]:
        if version < self.since:
            reason = f"{self.name} was added in version {self.since}"
            raise EncodeError(Fault.UNKNOWN_TYPE, "type", reason)
        id_ = 0 if self.ids is _NO_ID else message.id
        if id_ not in self.ids:
            reason = f"{id_} is not between {self.ids.start} and 2^32 - 1"
            raise EncodeError(Fault.BAD_ID, "id", reason)
        parts: list[bytes | memoryview] = []
        tail: bytes | memoryview = b""
        for field in self.fields:
            value = getattr(message, field.attribute, None)
            if field.since <= version:
                parts.append(tail)
                try:
                    tail = field.kind.write(value, version)
                except _Wrong as wrong:
                    raise EncodeError(wrong.fault, field.name, wrong.reason) from None
            elif not field.is_default(value):
                only = f"in older versions it can only be {field.default!r}"
                reason = f"it was added in version {field.since}; {only}"
                raise EncodeError(Fault.TRAILING_BYTES, field.name, reason)
        body = b"".join(parts)
        return _HEADER.pack(len(body) + len(tail), message.TYPE, 0, id_) + body, tail


_LAYOUT_REQUEST = _Layout(
    Request,
    "request",
    _NO_ID,
    _Field(1, "action", _Closed(_B, _AS_ACTION)),
    _Field(2, "mode_rule", _Closed(_B, _AS_MODE_RULE)),
    _Field(3, "replace", _Number(_B)),
    _Field(4, "recursive", _Number(_B)),
    _Field(5, "idempotent", _Number(_B)),
    _Field(6, "path", _Bytes(4095, nul=False)),
    _Field(7, "name", _Bytes(255, nul=False)),
    _Field(8, "new_path", _Bytes(4095, nul=False)),
    _Field(9, "pattern", _Bytes(4095, nul=False)),
    _Field(10, "cwd", _Bytes(4095, nul=False)),
    _Field(11, "user", _Bytes(511, nul=False)),
    _Field(12, "owner", _Bytes(511, nul=False)),
)
_LAYOUT_ENTRY = _Layout(
    Entry,
    "entry",
    _NO_ID,
    _Field(1, "mode", _Number(_I)),
    _Field(2, "size", _Number(_Q)),
    _Field(3, "mtime", _Number(_q)),
    _Field(4, "uid", _Number(_I)),
    _Field(5, "gid", _Number(_I)),
    _Field(6, "name", _Bytes(255, nul=False)),
    _Field(7, "target", _Bytes(4095, nul=False)),
)
_LAYOUT_DATA = _Layout(
    Data,
    "data",
    _NO_ID,
    _Field(1, "data", _Tail(262132)),
)
_LAYOUT_WHOLE = _Layout(Whole, "whole", _NO_ID)
_LAYOUT_DONE = _Layout(Done, "done", _NO_ID)
_LAYOUT_FAILURE = _Layout(
    Failure,
    "failure",
    _NO_ID,
    _Field(1, "subject", _Closed(_B, _AS_SUBJECT)),
    _Field(2, "error_number", _Number(_I)),
    _Field(3, "path", _Bytes(4095, nul=False)),
)


class _Rule:
    # A rule for checking and decoding messages whose number is `number`. It applies from the
    # version `since` on, up to the version of the next rule for the same number.
    def __init__(
        self,
        number: int,
        since: int,
        decode: Callable[[int, bytes, int, int], Message],
        senders: tuple[str, ...],
        ids: range,
        max_body: int,
    ) -> None:
        self.number = number
        self.since = since
        self.decode = decode
        self.senders = senders
        self.ids = ids
        self.max_body = max_body


_RULES = (
    _Rule(1, 1, _decode_request, ("host",), _NO_ID, 17690),
    _Rule(2, 1, _decode_entry, END_NAMES, _NO_ID, 4386),
    _Rule(3, 1, _decode_data, END_NAMES, _NO_ID, 262132),
    _Rule(4, 1, _decode_whole, END_NAMES, _NO_ID, 0),
    _Rule(5, 1, _decode_done, ("guest",), _NO_ID, 0),
    _Rule(6, 1, _decode_failure, ("guest",), _NO_ID, 4104),
)


class Decoder:
    """A decoder of the stream of bytes that one side sends.

    Pass each chunk of bytes to :meth:`receive_data`, then call :meth:`next_message` until it
    returns None. A chunk may begin and end anywhere. The decoder stores at most one frame in
    addition to the last chunk. It checks the length of a frame before it stores any of its body.
    """

    def __init__(self, sender: str, version: int = VERSION) -> None:
        """Create a decoder of the messages from one end.

        :param sender: Name of the end, one of END_NAMES.
        :param version: Version of the protocol that both sides agreed on.
        :raises ValueError: Raised if the end or the version does not exist.
        """
        if sender not in END_NAMES:
            raise ValueError(f"{sender!r} is not one of {END_NAMES}")
        self._sender = sender
        self.version = version
        self._chunk = b""
        self._at = 0
        self._partial = bytearray()
        self._error: DecodeError | None = None

    @property
    def version(self) -> int:
        """The version that both sides agreed on. A change applies from the next message on.

        :raises ValueError: Raised when it is set to a version that does not exist.
        """
        return self._version

    @version.setter
    def version(self, version: int) -> None:
        if not 1 <= version <= VERSION:
            raise ValueError(f"version {version} is not between 1 and {VERSION}")
        self._version = version
        self._rules = {rule.number: rule for rule in _RULES if rule.since <= version}
        self._own = {n: rule for n, rule in self._rules.items() if self._sender in rule.senders}

    def receive_data(self, data: bytes) -> None:
        """Add the next bytes of the stream. The decoder may keep `data` without copying it."""
        if self._error is not None:
            return
        if self._at < len(self._chunk):
            data = b"".join((memoryview(self._chunk)[self._at :], data))
        self._chunk = data if type(data) is bytes else bytes(data)
        self._at = 0

    def next_message(self) -> Message | None:
        """Return the next complete message, or None if more bytes are needed.

        A tail is a view of the received bytes. All other values are copies.

        :raises DecodeError: Raised if the stream is malformed, and again by every later call.
        """
        try:
            chunk, start = self._chunk, self._at + HEADER_SIZE
            if start > len(chunk) or self._partial:
                return self._completed()
            length, number, flags, id_ = _HEADER.unpack_from(chunk, self._at)
            rule = self._own.get(number)
            if rule is None or flags or id_ not in rule.ids or length > rule.max_body:
                raise self._refused(length, number, flags, id_)
            end = start + length
            if end > len(chunk):
                return self._completed()
            self._at = end
            return rule.decode(id_, chunk, start, end)
        except DecodeError as error:
            self._error = error
            self._drop()
            self._partial.clear()
            raise

    def _drop(self) -> None:
        self._chunk = b""
        self._at = 0

    def _completed(self) -> Message | None:
        if self._error is not None:
            raise self._error
        if not self._fill(HEADER_SIZE):
            return None
        length, number, flags, id_ = _HEADER.unpack_from(self._partial)
        rule = self._own.get(number)
        if rule is None or flags or id_ not in rule.ids or length > rule.max_body:
            raise self._refused(length, number, flags, id_)
        if not self._fill(HEADER_SIZE + length):
            return None
        frame = bytes(self._partial)
        self._partial.clear()
        return rule.decode(id_, frame, HEADER_SIZE, len(frame))

    def _fill(self, size: int) -> bool:
        missing = size - len(self._partial)
        if missing > 0:
            piece = memoryview(self._chunk)[self._at : self._at + missing]
            self._partial += piece
            self._at += len(piece)
            if len(piece) < missing:
                self._drop()
                return False
        return True

    def _refused(self, length: int, number: int, flags: int, id_: int) -> DecodeError:
        if number not in self._rules:
            return DecodeError(Fault.UNKNOWN_TYPE, 4)
        if number not in self._own:
            return DecodeError(Fault.BAD_DIRECTION, 4)
        if flags:
            return DecodeError(Fault.RESERVED_FLAGS, 6)
        if id_ not in self._own[number].ids:
            return DecodeError(Fault.BAD_ID, 8)
        return DecodeError(Fault.BODY_TOO_LONG, 0)

"""Tests of the guest's own functions of string.h, which are compared with those of Python."""

from __future__ import annotations

import ctypes
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.daemon import GUEST

TEXT = st.lists(st.sampled_from(b"\x01a:/\xff"), max_size=20).map(bytes)
SIZE = st.integers(0, 40)


@pytest.fixture(scope="module")
def string(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    library = tmp_path_factory.mktemp("string") / "string.so"
    flags = "-Os -ffreestanding -fno-tree-loop-distribute-patterns -nostdlib -shared -fPIC".split()
    # Without `-Bsymbolic`, the functions would call those of Python's C library.
    command = ["gcc", *flags, "-Wl,-Bsymbolic", "-o", str(library), str(GUEST / "string.c")]
    subprocess.run(command, check=True, timeout=60)
    found = ctypes.CDLL(str(library))
    found.strlen.restype = found.strcspn.restype = ctypes.c_size_t
    for name in ("memchr", "strchr", "strrchr"):
        getattr(found, name).restype = ctypes.c_void_p
    return found


def sign(number: int) -> int:
    return (number > 0) - (number < 0)


def order(left: bytes, right: bytes) -> int:
    return (left > right) - (left < right)


def offset(found: int | None, buffer: ctypes.Array[ctypes.c_char]) -> int:
    """Return the offset to which a pointer points, or -1 for NULL, as `bytes.find` does."""
    return -1 if found is None else found - ctypes.addressof(buffer)


@given(to=SIZE, from_=SIZE, size=SIZE)
def test_memory_is_moved(string: ctypes.CDLL, to: int, from_: int, size: int) -> None:
    before = bytes(range(80))
    buffer = ctypes.create_string_buffer(before, 80)
    address = ctypes.addressof(buffer)
    move = string.memcpy if abs(to - from_) >= size else string.memmove
    move(ctypes.c_void_p(address + to), ctypes.c_void_p(address + from_), ctypes.c_size_t(size))
    assert buffer.raw == before[:to] + before[from_ : from_ + size] + before[to + size :]


@given(at=SIZE, value=st.integers(0, 255), size=SIZE)
def test_memory_is_set(string: ctypes.CDLL, at: int, value: int, size: int) -> None:
    before = bytes(range(80))
    buffer = ctypes.create_string_buffer(before, 80)
    string.memset(ctypes.byref(buffer, at), value, ctypes.c_size_t(size))
    assert buffer.raw == before[:at] + bytes([value]) * size + before[at + size :]


@given(left=TEXT, right=TEXT, size=SIZE)
def test_texts_are_compared(string: ctypes.CDLL, left: bytes, right: bytes, size: int) -> None:
    assert sign(string.strcmp(left, right)) == order(left, right)
    assert sign(string.strncmp(left, right, ctypes.c_size_t(size))) == order(
        left[:size], right[:size]
    )
    same = min(len(left), len(right))
    for compare in (string.memcmp, string.bcmp):
        assert sign(compare(left, right, ctypes.c_size_t(same))) == order(left[:same], right[:same])


@given(text=TEXT, byte=st.sampled_from(b"\0a:\xff"), ends=TEXT)
def test_bytes_are_found(string: ctypes.CDLL, text: bytes, byte: int, ends: bytes) -> None:
    buffer = ctypes.create_string_buffer(text)
    size = ctypes.c_size_t(len(text))
    assert string.strlen(buffer) == len(text)
    assert offset(string.strchr(buffer, byte), buffer) == buffer.raw.find(byte)
    assert offset(string.strrchr(buffer, byte), buffer) == buffer.raw.rfind(byte)
    assert offset(string.memchr(buffer, byte, size), buffer) == text.find(byte)
    assert string.strcspn(buffer, ends) == next(
        (at for at, each in enumerate(text) if each in ends), len(text)
    )


@given(left=TEXT, right=TEXT)
def test_texts_are_joined(string: ctypes.CDLL, left: bytes, right: bytes) -> None:
    buffer = ctypes.create_string_buffer(100)
    string.strcpy(buffer, left)
    string.strcat(buffer, right)
    assert buffer.value == left + right

"""Check the tags of a MATLAB 5 file: `scipy.io.loadmat` takes them for granted, and a damaged one ends the process."""

from __future__ import annotations

import struct
import zlib

_HEADER = 128
_MATRIX, _PACKED = 14, 15
#: Types of data: whole numbers, floats, matrices and text.
_KNOWN = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13, _MATRIX, 16, 17, 18})
#: Classes of matrices that hold plain values, structures and cells.
_CLASSES = range(1, 16)
_FLAGS = 6
#: Bytes that a variable may unpack to, and matrices in each other.
_LARGEST, _DEEPEST = 1 << 28, 32


def require_sound(data: bytes) -> None:
    """Raise ValueError unless all elements of a file have a known type and lie within what holds them."""
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise ValueError("no MATLAB 5 file")
    at = _HEADER
    while at < len(data):
        kind, start, size = _read_tag(data, at, order)
        body, at = data[start : start + size], start + size
        if kind == _PACKED:
            body = _unpack(body)
            kind, start, size = _read_tag(body, 0, order)
            body = body[start : start + size]
        if kind != _MATRIX:
            raise ValueError(f"a variable of type {kind}")
        _require_sound_matrix(body, order, 1)


def _read_tag(data: bytes, at: int, order: str) -> tuple[int, int, int]:
    """Type of the element at a place, where its data start, and their length."""
    if at + 8 > len(data):
        raise ValueError("cut off")
    first, size = struct.unpack_from(f"{order}II", data, at)
    start = at + 8
    if first >> 16:  # a short element: its data stand in the tag
        first, size, start = first & 0xFFFF, first >> 16, at + 4
        if size > 4:
            raise ValueError(f"a short element of {size} bytes")
    if first not in _KNOWN and first != _PACKED:
        raise ValueError(f"an element of type {first}")
    if start + size > len(data):
        raise ValueError("an element that is longer than the file")
    return first, start, size


def _require_sound_matrix(body: bytes, order: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("matrices nested too deeply")
    if not body:
        return  # an empty field of a structure
    kind, start, size = _read_tag(body, 0, order)
    if kind != _FLAGS or size != 8:
        raise ValueError("a matrix without a class")
    if (struct.unpack_from(f"{order}I", body, start)[0] & 0xFF) not in _CLASSES:
        raise ValueError("a matrix of an unknown class")
    at = start + size
    while at < len(body):
        kind, start, size = _read_tag(body, at, order)
        if kind == _PACKED:
            raise ValueError("a packed variable in a matrix")
        if kind == _MATRIX:
            _require_sound_matrix(body[start : start + size], order, depth + 1)
        at = at + 8 if start == at + 4 else start + -(-size // 8) * 8


def _unpack(body: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    found = unpacking.decompress(body, _LARGEST)
    if unpacking.unconsumed_tail:
        raise ValueError(f"a variable of more than {_LARGEST:,} bytes")
    return found

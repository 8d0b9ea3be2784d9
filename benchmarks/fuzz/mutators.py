"""Spoil valid bytes at random: what belongs to no format, and the choice of what belongs to one."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from random import Random

from benchmarks.fuzz import archives, bombs, structures

#: (valid contents, generator) -> spoilt content.
Mutate = Callable[[Sequence[bytes], Random], bytes]

#: Put anywhere: controls, halves of characters, marks of encodings, ways out of a folder, numbers without end.
_PIECES = (
    b"\0",
    b"\x1b[31m",
    b"\r",
    b"\x7f",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xc3",
    b"\xed\xa0\x80",
    "\u202e\u2066".encode(),
    b"../../../etc/passwd",
    b"/etc/passwd",
    b"..\\..\\x",
    b"~root/x",
    b"${HOME}",
    b"\n",
    b"\t",
    b"  ",
    b"'",
    b'"',
    b"<",
    b"{",
    b"[",
    b"}",
    b"]",
    b":",
    b",",
    b"-",
    b"&a ",
    b"*a",
    b"!!python/object/apply:os.system [true]",
    b"<<: ",
    b"%",
    b"#",
    b"|",
    b"1e999",
    b"9" * 400,
    b"-1",
    b"NaN",
    b"Infinity",
    b"null",
    b"true",
    b"0x7fffffff",
    b"1_0",
    "ｅ９".encode(),
    b"\xe2\x80\xa8",
    b"a" * 5000,
)
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)


def _flip(seeds: Sequence[bytes], draw: Random) -> bytes:
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 5, 40)) if data else 0):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def _cut(seeds: Sequence[bytes], draw: Random) -> bytes:
    data = draw.choice(seeds)
    return data[: draw.randrange(len(data) + 1)]


def _splice(seeds: Sequence[bytes], draw: Random) -> bytes:
    one, other = draw.choice(seeds), draw.choice(seeds)
    begin, end = sorted((draw.randrange(len(other) + 1), draw.randrange(len(other) + 1)))
    at, left = draw.randrange(len(one) + 1), draw.randrange(len(one) + 1)
    return (
        one[:at] + other[begin:end] * draw.choice((1, 1, 1, 20)) + one[max(at, left) if draw.random() < 0.5 else at :]
    )


def _insert(seeds: Sequence[bytes], draw: Random) -> bytes:
    data = draw.choice(seeds)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(data) + 1)
        data = data[:at] + draw.choice(_PIECES) + data[at + draw.choice((0, 0, 1, 8)) :]
    return data


def _write_number(seeds: Sequence[bytes], draw: Random) -> bytes:
    """Overwrite two, four or eight bytes by a number at the edge of a type."""
    data = bytearray(draw.choice(seeds))
    kind = draw.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    width = struct.calcsize(kind)
    for _ in range(draw.choice((1, 1, 2)) if len(data) > width else 0):
        struct.pack_into(kind, data, draw.randrange(len(data) - width), draw.choice(_NUMBERS) & (256**width - 1))
    return bytes(data)


def _recode(seeds: Sequence[bytes], draw: Random) -> bytes:
    text = draw.choice(seeds).decode("utf-8", "replace")
    return text.encode(
        draw.choice(("utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1", "cp500", "utf-8-sig")), "replace"
    )


def _repeat(seeds: Sequence[bytes], draw: Random) -> bytes:
    """Lines once more, in another order, or a hundred times."""
    lines = draw.choice(seeds).split(b"\n")
    lines[draw.randrange(len(lines)) :] *= draw.choice((2, 2, 100))
    if draw.random() < 0.5:
        draw.shuffle(lines)
    return draw.choice((b"\n", b"\r", b"\r\n")).join(lines)


def _noise(seeds: Sequence[bytes], draw: Random) -> bytes:
    head = draw.choice(seeds)[: draw.choice((0, 0, 8, 64))]
    return head + draw.randbytes(draw.choice((0, 1, 17, 600, 9000)))


_BINARY: tuple[Mutate, ...] = (_flip, _flip, _cut, _splice, _write_number, _write_number, _noise)
_TEXT: tuple[Mutate, ...] = (_flip, _cut, _splice, _insert, _insert, _insert, _recode, _repeat, _noise)

#: Form of a file -> its mutators; one that is listed twice is drawn twice as often.
FORMS: Mapping[str, Sequence[Mutate]] = {
    "text": _TEXT,
    "words": (*_TEXT, bombs.long_words),
    "json": (*_TEXT, *(structures.change_json,) * 8, bombs.json_bomb),
    "jsonl": (*_TEXT, *(structures.change_json_line,) * 8, bombs.json_bomb),
    "yaml": (*_TEXT, *(structures.change_yaml,) * 6, bombs.yaml_bomb, bombs.yaml_bomb),
    "xml": (*_TEXT, *(structures.change_xml,) * 6, bombs.xml_bomb),
    "picture": (*_BINARY, *(archives.change_png,) * 3, bombs.picture_bomb),
    "tiff": (*_BINARY, *(archives.change_tiff,) * 5, bombs.picture_bomb),
    "array": (*_BINARY, *(archives.change_npy,) * 5),
    "zip": (*_BINARY, *(archives.change_zip,) * 6, bombs.zip_bomb),
    "arrays": (*_BINARY, *(archives.change_npz,) * 6, bombs.zip_bomb),
    "tar": (*_BINARY, *(archives.change_tar,) * 6),
    "safetensors": (*_BINARY, *(archives.change_safetensors,) * 8),
    "binary": _BINARY,
}

#: Those for a second time: a bomb is not taken apart again.
_AGAIN: tuple[Mutate, ...] = (_flip, _cut, _insert)


def make_case(form: str, seeds: Sequence[bytes], draw: Random) -> bytes:
    """Spoil one of `seeds`; sometimes twice, and at times leave it as it is."""
    if draw.random() < 0.02:
        return draw.choice(seeds)
    mutators = FORMS[form]
    data = draw.choice(mutators)(seeds, draw)
    if draw.random() < 0.15:
        data = draw.choice(_AGAIN)([data], draw)
    return data

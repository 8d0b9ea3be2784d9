"""Spoil the inside of files with checksums and tables, and put these right again, so that readers come further."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from random import Random

import numpy as np

from benchmarks.fuzz.structures import change_value

_SHAPES = (
    "()",
    "(0,)",
    "(-1, 2, 2)",
    "(2, 6, 8)",
    "(2, 100000, 100000)",
    "(2, 99999999999999999999, 1)",
    "(1,)*9",
    "('a',)",
    "(2, 6)",
    "(2.0, 6, 8)",
    "(None,)",
    "(True, 6, 8)",
    "(2, 6, 8" + ", 1" * 80 + ")",
)
_KINDS = (
    "<f4",
    "<f8",
    "|u1",
    "|O",
    "<U9",
    "<M8[s]",
    "|V0",
    "<f2",
    "<c16",
    "zz",
    "<f16",
    "|b1",
    ">f4",
    "|S0",
    "|u1', 'x': '",
)


def change_png(seeds: Sequence[bytes], draw: Random) -> bytes:
    """Chunks of a PNG changed, twice, gone or in another order, with checksums that hold."""
    data = draw.choice([seed for seed in seeds if seed.startswith(b"\x89PNG")] or seeds)
    chunks, at = list[tuple[bytes, bytearray]](), 8
    while at + 12 <= len(data):
        size = struct.unpack_from(">I", data, at)[0]
        chunks.append((data[at + 4 : at + 8], bytearray(data[at + 8 : at + 8 + size])))
        at += 12 + size
    if not chunks:
        return data
    which = draw.randrange(len(chunks))
    inner = chunks[which][1]
    match draw.randrange(5):
        case 0:
            del chunks[which]
        case 1:
            chunks *= 2
        case 2:
            draw.shuffle(chunks)
        case 3:
            more = draw.choice(
                (b"eXIf", b"tRNS", b"PLTE", b"iCCP", b"acTL", b"fcTL", b"zTXt", b"iTXt", b"gAMA", b"pHYs", b"IDAT")
            )
            chunks.insert(which, (more, bytearray(draw.randbytes(draw.choice((0, 1, 6, 26, 900))))))
        case _:
            for _ in range(draw.choice((1, 2, 6)) if inner else 0):
                inner[draw.randrange(len(inner))] = draw.choice((0, 1, 2, 3, 7, 16, 127, 128, 255))
    made = (struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks)
    return data[:8] + b"".join(made)


def change_tiff(seeds: Sequence[bytes], draw: Random) -> bytes:
    """Tags of the first directory of a little-endian TIFF overwritten."""
    data = bytearray(draw.choice([seed for seed in seeds if seed[:4] == b"II*\0"] or seeds))
    if len(data) < 16 or data[:4] != b"II*\0":
        return bytes(data)
    start = struct.unpack_from("<I", data, 4)[0]
    if start + 2 > len(data):
        return bytes(data)
    count = struct.unpack_from("<H", data, start)[0]
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = start + 2 + 12 * draw.randrange(max(count, 1))
        if at + 12 > len(data):
            continue
        field, kind = draw.choice(((0, "<H"), (2, "<H"), (4, "<I"), (8, "<I"), (8, "<I"), (8, "<I")))
        known = (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 255, 256, 32773, 34712, 50000, 65535, 70_000, 2**31, 2**32 - 1)
        value = draw.choice(known)
        struct.pack_into(kind, data, at + field, value & (0xFFFF if kind == "<H" else 0xFFFFFFFF))
    return bytes(data)


def change_npy(seeds: Sequence[bytes], draw: Random) -> bytes:
    """An array with another type, shape or header."""
    data = draw.choice([seed for seed in seeds if seed.startswith(b"\x93NUMPY")] or seeds)
    if not data.startswith(b"\x93NUMPY") or len(data) < 12:
        return data
    size = struct.unpack_from("<H", data, 8)[0]
    header, body = data[10 : 10 + size].decode("latin-1"), data[10 + size :]
    match draw.randrange(5):
        case 0:
            header = re.sub(r"\([^)]*\)", draw.choice(_SHAPES), header, count=1)
        case 1:
            header = re.sub(r"'descr': '[^']*'", f"'descr': '{draw.choice(_KINDS)}'", header)
        case 2:
            header = draw.choice(
                (
                    "{}",
                    "[" * 200,
                    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
                    "(" * 90 + ")" * 90,
                    "-" * 5000 + "1",
                    header.replace("False", "True"),
                    "9" * 9000,
                    "\0",
                    "'a'*9",
                    "{'a'",
                )
            )
        case 3:
            values = np.array([np.nan, np.inf, -1, 2, 1e-40, 0.5], "<f4")
            body = b"".join(draw.choice(values).tobytes() for _ in range(len(body) // 4))
        case _:
            body = body[: draw.randrange(len(body) + 1)] * draw.choice((1, 2))
    encoded = header.encode("latin-1")
    version = draw.choice((b"\x01\0", b"\x01\0", b"\x01\0", b"\x02\0", b"\x03\0", b"\x09\0"))
    length = struct.pack("<H" if version == b"\x01\0" else "<I", len(encoded) & 0xFFFF)
    return b"\x93NUMPY" + version + length + encoded + body


def _repack(data: bytes, draw: Random, arrays: bool) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # spoilt before; zipfile raises many kinds
        return data
    if not members:
        return data
    which = draw.randrange(len(members))
    name, inner = members[which]
    match draw.randrange(6):
        case 0:
            members[which] = (draw.choice(("../../x", "scores", "a\x1b.npy", "", "x" * 900 + ".npy", "a/b.npy")), inner)
        case 1:
            members.append((name, inner[:3]))
        case 2:
            del members[which]
        case 3:
            members[which] = (name, inner[: draw.randrange(len(inner) + 1)])
        case _ if arrays:
            members[which] = (name, change_npy([inner], draw))
        case _:
            changed = bytearray(inner)
            for _ in range(draw.choice((1, 2, 8)) if inner else 0):
                changed[draw.randrange(len(changed))] = draw.randrange(256)
            members[which] = (name, bytes(changed))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for each, content in members:
            archive.writestr(zipfile.ZipInfo(each), content)
    return out.getvalue()


def change_zip(seeds: Sequence[bytes], draw: Random) -> bytes:
    """A member of an archive changed, renamed, twice or gone, with checksums that hold."""
    return _repack(draw.choice(seeds), draw, arrays=False)


def change_npz(seeds: Sequence[bytes], draw: Random) -> bytes:
    """As `change_zip`, where members are arrays."""
    return _repack(draw.choice(seeds), draw, arrays=True)


def change_tar(seeds: Sequence[bytes], draw: Random) -> bytes:
    """A header of a tar changed, with a checksum that holds."""
    data = bytearray(draw.choice(seeds))
    heads = [at for at in range(0, len(data) - 511, 512) if data[at + 257 : at + 262] == b"ustar"]
    if not heads:
        return bytes(data)
    at = draw.choice(heads)
    field, size, values = draw.choice(
        (
            (
                0,
                100,
                (
                    b"../../x.png",
                    b"/etc/x.png",
                    b"a\x1b[31m.png",
                    b"\xff.png",
                    b"",
                    b"x" * 100,
                    b".",
                    b"a/./b.png",
                    b"A.PNG",
                ),
            ),
            (124, 12, (b"77777777777", b"\x80" + b"\xff" * 11, b"-1", b"", b"abc", b"0", b"\xff" * 12)),
            (156, 1, tuple(bytes([kind]) for kind in b"01234567xgLKSVDMAN\0Z")),
            (157, 100, (b"/etc/passwd", b"../x", b"a.png")),
            (345, 155, (b"../..", b"/", b"x" * 155)),
            (100, 24, (b"\xff" * 24, b"zzzz")),
        )
    )
    data[at + field : at + field + size] = draw.choice(values).ljust(size, b"\0")[:size]
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    return bytes(data)


def change_safetensors(seeds: Sequence[bytes], draw: Random) -> bytes:
    """The header of a safetensors file with other values; its card, which is JSON in JSON, too."""
    data = draw.choice(seeds)
    if len(data) < 8:
        return data
    size = struct.unpack_from("<Q", data)[0]
    try:
        header = json.loads(data[8 : 8 + size])
        facts = header["__metadata__"]
        key = draw.choice(sorted(facts))
        if draw.random() < 0.6:
            header["__metadata__"] = {**facts, key: json.dumps(change_value(json.loads(facts[key]), draw))}
        else:
            header = change_value(header, draw)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError):
        header = {}
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    length = len(text) if draw.random() < 0.9 else draw.choice((0, 2**31, 2**63 - 1, 2**64 - 1))
    return struct.pack("<Q", length) + text + data[8 + size :]

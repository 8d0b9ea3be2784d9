"""Small files that claim to be large: by aliases, entities, nesting, headers of pictures and archives."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from random import Random

_SIDES = (0, 1, 5, 40_000, 70_000, 2**20, 2**31 - 1, 2**31, 2**32 - 1)


def json_bomb(seeds: Sequence[bytes], draw: Random) -> bytes:
    """Lists or objects in each other, closed or not, or a long number."""
    deep = draw.choice((100, 900, 20_000))
    opened, closed = draw.choice(((b"[", b"]"), (b'{"a":', b"}")))
    bomb = opened * deep + b"1" + closed * draw.choice((0, deep))
    return draw.choice((bomb, b"9" * 60_000, b'{"a":"' + b"\\ud800" * 9000 + b'"}', b"[" + b"0," * 60_000 + b"0]"))


def yaml_bomb(seeds: Sequence[bytes], draw: Random) -> bytes:
    """A billion laughs, a value in itself, deep nesting, merged keys, tags."""
    key = draw.choice(("a", "data", "classes", "model", "names", "extends"))
    laughs = ["x0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    laughs += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 10)]
    deep = draw.choice((50, 400, 5000))
    return draw.choice(
        (
            "\n".join([*laughs, f"{key}: *x9"]),
            f"{key}: &a [*a]",
            f"&a {key}: *a",
            f"{key}: &a {{b: *a}}",
            f"{key}: " + "[" * deep + "]" * deep,
            f"{key}: " + "{a: " * deep,
            "- " * deep + "a",
            "? " * deep + "a",
            "\n".join(" " * n + "a:" for n in range(min(deep, 900))),
            f"a: &a {{b: 1}}\n{key}:\n  <<: *a\n  <<: [*a, *a]",
            f"{key}: !!python/object/apply:os.system ['true']",
            f"{key}: !!binary aGFsbG8=\nb: !!set {{a, b}}\nc: !!timestamp 2001-01-01",
            f"{key}: " + "9" * 20_000,
            f"{key}: 1e{'9' * 40}",
            "%YAML 9.9\n---\na: b\n---\nc: d",
            f"{key}: |\n" + "  x\n" * 2000,
            "".join(f"k{n}: {n}\n" for n in range(3000)),
            f"{key}: 'a\n",
            f'{key}: "\\uD800\\x1b"',
        )
    ).encode()


def xml_bomb(seeds: Sequence[bytes], draw: Random) -> bytes:
    """Entities, external ones, deep nesting, many attributes."""
    laughs = "".join(f'<!ENTITY l{n} "' + f"&l{n - 1};" * 10 + '">' for n in range(1, 10))
    many = " ".join(f"a{n}='1'" for n in range(3000))
    return draw.choice(
        (
            f'<!DOCTYPE a [<!ENTITY l0 "lol">{laughs}]><a>&l9;</a>',
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>',
            "<a>" * 5000,
            f"<annotations>{'<image>' * 60}",
            f"<annotations {many}/>",
            '<?xml version="1.0" encoding="utf-7"?><annotations/>',
            '<?xml version="1.0" encoding="x-no-such"?><annotations/>',
            "<annotations>&#xD800;&#0;&amp;&nosuch;</annotations>",
        )
    ).encode()


def long_words(seeds: Sequence[bytes], draw: Random) -> bytes:
    """One line of many words, blanks or letters."""
    piece = draw.choice((b"a ", b"a,", b"a\t", b"a", b" ", b'"', b"a.png ", b"1 ", b"- ", b": ", b"{a,b}", b"\\"))
    return piece * draw.choice((300, 4000, 60_000))


def picture_bomb(seeds: Sequence[bytes], draw: Random) -> bytes:
    """A header with sides of any size, and hardly any data."""
    width, height = draw.choice(_SIDES), draw.choice(_SIDES)
    return draw.choice((_png, _bmp, _gif, _tiff, _jpeg, _webp))(width, height, draw)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, draw: Random) -> bytes:
    head = struct.pack(
        ">IIBBBBB", width, height, draw.choice((1, 8, 16)), draw.choice((0, 2, 3, 4, 6)), 0, 0, draw.choice((0, 1))
    )
    data = zlib.compress(bytes(draw.choice((0, 10, 1_000_000))))
    text = b"a\0\0" + zlib.compress(bytes(draw.choice((3, 30_000_000))))
    parts = [_chunk(b"IHDR", head), *([_chunk(b"zTXt", text)] if draw.random() < 0.3 else []), _chunk(b"IDAT", data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + _chunk(b"IEND", b"")


def _bmp(width: int, height: int, draw: Random) -> bytes:
    info = struct.pack(
        "<IIIHHIIIIII", 40, width, height, 1, draw.choice((1, 4, 8, 24, 32)), draw.choice((0, 1, 2)), 0, 0, 0, 0, 0
    )
    return b"BM" + struct.pack("<IHHI", 14 + len(info), 0, 0, 14 + len(info)) + info + bytes(8)


def _gif(width: int, height: int, draw: Random) -> bytes:
    sides = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
    return b"GIF89a" + sides + b"\x80\0\0" + bytes(6) + b",\0\0\0\0" + sides + b"\0\x02\x02\x4c\x01\0;"


def _tiff(width: int, height: int, draw: Random) -> bytes:
    tags = {
        256: width,
        257: height,
        258: draw.choice((1, 8, 16, 32, 64)),
        259: draw.choice((1, 5, 8, 32773, 50000)),
        262: 1,
        273: 8,
        277: draw.choice((1, 3, 65535)),
        278: height,
        279: draw.choice((4, 2**31)),
        339: draw.choice((1, 2, 3, 6)),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value & 0xFFFFFFFF) for tag, value in tags.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4 + 64)


def _jpeg(width: int, height: int, draw: Random) -> bytes:
    frame = struct.pack(">HBHHB", 11, 8, height & 0xFFFF, width & 0xFFFF, 1) + b"\x01\x11\0"
    return (
        b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
        + draw.choice((b"\xff\xc0", b"\xff\xc2"))
        + frame
        + b"\xff\xd9"
    )


def _webp(width: int, height: int, draw: Random) -> bytes:
    size = (width & 0x3FFF) | (height & 0x3FFF) << 14
    body = b"WEBPVP8L" + struct.pack("<I", 20) + b"\x2f" + struct.pack("<I", size) + bytes(15)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def zip_bomb(seeds: Sequence[bytes], draw: Random) -> bytes:
    """An archive whose one member unpacks to 64 MB, or that claims other sizes than it has."""
    out = io.BytesIO()
    name = draw.choice(("scores.npy", "archive/data.pkl", "../../x.npy", "a.npy", "/etc/x"))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(draw.choice((0, 100, 64_000_000))))
        if draw.random() < 0.2:
            for number in range(2000):
                archive.writestr(f"{number}.npy", b"")
    data = bytearray(out.getvalue())
    at = data.rfind(b"PK\x01\x02")
    if draw.random() < 0.5 and at >= 0:
        struct.pack_into("<II", data, at + 20, draw.choice((0, 10, 2**32 - 1)), draw.choice((0, 10, 2**32 - 1)))
    return bytes(data)

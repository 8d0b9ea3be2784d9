"""Malformed inputs by kind: each builder adds some to a small data set and says what has to be found, and where."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from unit import toy_data

SIDE = 40


@dataclass
class Corpus:
    """A labelled list, an evaluation list, an unlabelled list, and what is wrong in them.

    expected: (kind, where) of each malformed input; errors: how many of them are errors, so that their records are bad.
    """

    root: Path
    lines: dict[str, list[bytes]] = field(default_factory=lambda: {"labeled": [], "val": [], "unlabeled": []})
    expected: list[tuple[str, str]] = field(default_factory=list)
    errors: int = 0
    severity: str = "error"
    _seed: int = 0

    def image(self, name: str, seed: int | None = None, size: tuple[int, int] = (SIDE, SIDE)) -> Path:
        """A smooth picture of its own, which JPEG changes little."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._seed += 1
        rng = np.random.default_rng(1000 + (self._seed if seed is None else seed))
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(path, **({"quality": 92} if path.suffix == ".jpg" else {}))
        return path

    def mask(self, name: str, size: tuple[int, int] = (SIDE, SIDE), values: tuple[int, ...] = (0, 1, 2, 255)) -> Path:
        self._seed += 1
        toy_data.mask(self.root / name, 5000 + self._seed, size, values)
        return self.root / name

    def pair(self, name: str, suffix: str = ".png") -> str:
        """Write a good image and its mask; returns the line that names them."""
        image, mask = f"images/{name}{suffix}", f"masks/{name}.png"
        self.image(image)
        self.mask(mask)
        return f"{image} {mask}"

    def good(self, number: int, stream: str = "labeled") -> None:
        for index in range(number):
            self.add(self.pair(f"good-{stream}-{index}"), stream)

    def add(self, line: str | bytes, stream: str = "labeled") -> str:
        """Add a line; returns its place."""
        self.lines[stream].append(line.encode() if isinstance(line, str) else line)
        return f"{self.root}/{stream}.txt:{len(self.lines[stream])}"

    def bad(self, kind: str, line: str | bytes, stream: str = "labeled") -> None:
        """Add a line about which `kind` has to be found."""
        self.expected.append((kind, self.add(line, stream)))

    def write(self) -> Path:
        """Write lists and configuration; returns the YAML."""
        (self.root / "classes.txt").write_text("\n".join(toy_data.NAMES))
        text = "data:\n  root: .\n"
        for stream, lines in self.lines.items():
            if lines:
                (self.root / f"{stream}.txt").write_bytes(b"\n".join(lines) + b"\n")
                text += f"  {stream}: {stream}.txt\n"
        (self.root / "own.yaml").write_text(text)
        return self.root / "own.yaml"


def missing(c: Corpus) -> None:
    for i in range(10):
        line = c.pair(f"m{i}")
        (c.root / line.split()[0]).unlink()
        c.bad("image-missing", line)


def unreadable(c: Corpus) -> None:
    contents = [
        b"",
        b"\0" * 500,
        b"<html>404 Not Found</html>",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM" + b"\0" * 60,
        os.urandom(300),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        b"%PDF-1.4",
    ]
    for i, content in enumerate(contents):
        line = c.pair(f"u{i}")
        (c.root / line.split()[0]).write_bytes(content)
        c.bad("image-unreadable", line)


def truncated(c: Corpus) -> None:
    for i in range(12):
        line = c.pair(f"t{i}", (".png", ".jpg")[i % 2])
        path = c.root / line.split()[0]
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * (i + 4) // 18])
        c.bad("image-unreadable", line)


def damaged_jpeg(c: Corpus) -> None:
    for i in range(10):
        line = c.pair(f"d{i}", ".jpg")
        path = c.root / line.split()[0]
        c.image(line.split()[0], size=(200, 160))
        c.mask(line.split()[1], (200, 160))
        data = bytearray(path.read_bytes())
        start = data.index(b"\xff\xda") + 60 + 40 * i
        data[start : start + 120] = bytes(120)
        path.write_bytes(data)
        c.bad("image-damaged", line)


def damaged_png(c: Corpus) -> None:
    """Checksums of parts that no pixel depends on, and of pixels: the first decodes, the second does not."""
    for i in range(10):
        line = c.pair(f"p{i}")
        path = c.root / line.split()[0]
        data = bytearray(path.read_bytes())
        at = data.index(b"IDAT") + 4 + int.from_bytes(data[data.index(b"IDAT") - 4 : data.index(b"IDAT")], "big")
        data[at + i % 4] ^= 1 + i
        path.write_bytes(data)
        c.bad("image-damaged", line)


def bombs(c: Corpus) -> None:
    for i in range(10):
        line = c.pair(f"b{i}")
        header = b"IHDR" + struct.pack(">IIBBBBB", 20_000 + 4000 * i, 30_000, 8, 2, 0, 0, 0)
        parts = (header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND")
        chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts)
        (c.root / line.split()[0]).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
        c.bad("image-bomb", line)


def sizes(c: Corpus) -> None:
    for i in range(10):
        line = c.pair(f"s{i}")
        c.mask(line.split()[1], (SIDE + 1 + i, SIDE - i % 3))
        c.bad("mask-size", line)


def turned(c: Corpus) -> None:
    for i in range(8):
        line = c.pair(f"e{i}")
        exif = Image.Exif()
        exif[0x0112] = 5 + i % 4
        c.image(line.split()[0], size=(60, 40 + i))
        with Image.open(c.root / line.split()[0]) as image:
            image.save(c.root / line.split()[0], exif=exif)
        c.mask(line.split()[1], (60, 40 + i))
        c.bad("mask-turned", line)


def values(c: Corpus) -> None:
    for i in range(10):
        line = c.pair(f"v{i}")
        c.mask(line.split()[1], values=(0, 1, 3 + 9 * i))
        c.bad("mask-values", line)


def jpeg_masks(c: Corpus) -> None:
    for i in range(8):
        line = c.pair(f"j{i}")
        with Image.open(c.root / line.split()[1]) as mask:
            mask.save(c.root / f"masks/j{i}.{('jpg', 'jpeg')[i % 2]}", "JPEG")
        c.bad("mask-jpeg", f"{line.split()[0]} masks/j{i}.{('jpg', 'jpeg')[i % 2]}")


def color_masks(c: Corpus) -> None:
    for i in range(8):
        line = c.pair(f"c{i}")
        pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
        pixels[i:, i:] = (128, 64 + i, 0)
        Image.fromarray(pixels).save(c.root / line.split()[1])
        c.bad("mask-colors", line)


def broken_masks(c: Corpus) -> None:
    for i in range(10):
        line = c.pair(f"x{i}")
        path = c.root / line.split()[1]
        path.write_bytes(b"" if not i else path.read_bytes()[: 40 * i])
        c.bad("mask-unreadable", line)


def absent_masks(c: Corpus) -> None:
    for i in range(10):
        line = c.pair(f"a{i}")
        if i % 2:
            (c.root / line.split()[1]).unlink()
        c.bad("mask-missing", line if i % 2 else line.split()[0])


def climbing(c: Corpus) -> None:
    for path in (
        "../x.png",
        "../../x.png",
        "a/../../x.png",
        "./../x.png",
        "a/b/../../../x.png",
        "../own/x.png",
        "images/../../x.png",
        "../../../../../../etc/x.png",
        "..//x.png",
        "a/../b/../../x.png",
    ):
        c.bad("line-outside", f"{path} masks/x.png")
    for path in ("../m.png", "masks/../../m.png"):
        c.bad("line-outside", f"images/x.png {path}")


def absolute(c: Corpus) -> None:
    for path in (
        "/etc/x.png",
        "/x.png",
        f"{c.root}-other/x.png",
        f"{c.root.parent}/x.png",
        "/proc/self/x.png",
        "//etc/x.png",
        f"{c.root}/../x.png",
        f"{c.root}/images/../../x.png",
    ):
        c.bad("line-outside", f"{path} masks/x.png")
    c.bad("line-outside", "images/x.png /etc/m.png")
    c.bad("line-outside", json.dumps({"id": "q", "image": "/etc/q.png", "mask": "masks/x.png"}))


def links(c: Corpus) -> None:
    outside = c.root.parent / f"{c.root.name}-elsewhere"
    outside.mkdir()
    toy_data.image(outside / "secret.png", 1, (SIDE, SIDE))
    (c.root / "far").symlink_to(outside)
    (c.root / "up").symlink_to("..")
    for i in range(6):
        line = c.pair(f"l{i}")
        path = c.root / line.split()[i % 2]
        path.unlink()
        path.symlink_to(outside / "secret.png")
        c.bad("line-outside", line)
    for path in ("far/secret.png", "up/x.png", f"up/{outside.name}/secret.png", "far/../x.png"):
        c.bad("line-outside", f"{path} masks/l0-none.png")


def control(c: Corpus) -> None:
    for i, char in enumerate("\0\x01\x07\x08\x1b\x7f\x9b\x90\u202e\u2066"):
        c.bad("line-control", f"images/a{char}{i}.png masks/x.png")
    c.bad("line-control", json.dumps({"image": "a\nb.png", "mask": "masks/x.png"}))
    c.bad("line-control", json.dumps({"image": "a.png", "mask": "masks/x.png", "id": "\x1b[31m"}))


def encodings(c: Corpus) -> None:
    for i, raw in enumerate(
        (b"\xe9", b"\xff", b"\xc3", b"\x80", b"\xed\xa0\x80", b"\xf8\x88\x80", b"\xc0\xaf", b"\xfe\xff")
    ):
        c.bad("line-encoding", b"images/%d" % i + raw + b".png masks/x.png")
    c.bad("line-encoding", '{"image": "a\\ud800.png", "mask": "masks/x.png"}')
    c.bad("line-encoding", '{"image": "a.png", "mask": "m\\udfff.png"}')


def long_lines(c: Corpus) -> None:
    c.bad("line-long", "a" * 10_000_000 + ".png")
    c.bad("line-long", '{"image": "' + "a" * 10_000_000 + '"}')
    for i in range(8):
        c.bad("line-long", "x " * (5000 + i) + ".png")


def columns(c: Corpus) -> None:
    for line in (
        "images/a",
        "a b c",
        "images/a.png masks",
        "a.png b.png c.png d.png",
        ".png",
        "images/a.txt masks/a.txt",
        "https://x.org/a",
        "img:a, mask:b",
        "a.png,b.png;c",
        "# comment",
    ):
        c.bad("line-columns", line)


def jsons(c: Corpus) -> None:
    for line in (
        '{"image": "a.png"',
        "{}",
        '{"image": 3}',
        '{"image": null}',
        '{"image": ["a.png"]}',
        '{"image": "a.png", "mask": 1}',
        '{"image": "a.png", "msk": "b.png"}',
        "{'image': 'a.png'}",
        '{"image": "a.png", "sha256": "0"}',
        '{"image": "a.png",}',
        '{"image": "a.png", "license": 4}',
        '{"image": ' + "[" * 50_000,
    ):
        c.bad("line-json", line)


def ids(c: Corpus) -> None:
    for name in ("", " ", "/a", "../a", "a/../b", "a//b", ".", "a/", 7, None):
        c.bad("line-id", json.dumps({"id": name, "image": "a.png", "mask": "masks/x.png"}))


def twice(c: Corpus) -> None:
    for i in range(10):
        line = c.pair(f"w{i}")
        c.add(line)
        c.bad("id-twice", line if i % 2 else line.replace(".png m", ".jpg m"))


def shared(c: Corpus) -> None:
    for i in range(12):
        line = c.pair(f"h{i}")
        c.add(line, "val")
        c.bad("leak-shared", line if i % 2 else f"./{line}", ("labeled", "unlabeled")[i % 3 == 0])


def copied(c: Corpus) -> None:
    for i in range(10):
        line = c.pair(f"k{i}")
        c.add(line, "val")
        shutil.copy(c.root / line.split()[0], c.root / f"images/copy-{i}.png")
        c.mask(f"masks/copy-{i}.png")
        c.bad("leak-exact", f"images/copy-{i}.png masks/copy-{i}.png", ("labeled", "unlabeled")[i % 2])


def near(c: Corpus) -> None:
    c.severity = "warning"
    for i in range(8):
        line = c.pair(f"n{i}")
        c.add(line, "val")
        with Image.open(c.root / line.split()[0]) as image:
            image.resize((SIDE + 2 * i, SIDE + 2 * i)).save(c.root / f"images/near-{i}.jpg", quality=60 + 4 * i)
        c.mask(f"masks/near-{i}.png", (SIDE + 2 * i, SIDE + 2 * i))
        c.bad("leak-near", f"images/near-{i}.jpg masks/near-{i}.png")


def doubled(c: Corpus) -> None:
    c.severity = "warning"
    for i in range(8):
        line = c.pair(f"o{i}")
        c.bad("copy-exact", line)
        shutil.copy(c.root / line.split()[0], c.root / f"images/again-{i}.png")
        c.add(f"images/again-{i}.png {line.split()[1]}")


def wrong_masks(c: Corpus) -> None:
    c.severity = "warning"
    for i in range(8):
        line = c.pair(f"r{i}")
        c.bad("mask-copied", line)
        c.image(f"images/other-{i}.png")
        shutil.copy(c.root / line.split()[1], c.root / f"masks/other-{i}.png")
        c.add(f"images/other-{i}.png masks/other-{i}.png")


def empty_masks(c: Corpus) -> None:
    c.severity = "warning"
    for i in range(6):
        line = c.pair(f"i{i}")
        c.mask(line.split()[1], values=(255,))
        c.bad("mask-empty", line)


def letters(c: Corpus) -> None:
    c.severity = "warning"
    for i in range(6):
        c.add(c.pair(f"case{i}"))
        c.bad("id-case", c.pair(f"CASE{i}"))


def shapes(c: Corpus) -> None:
    c.severity = "warning"
    for i in range(8):
        line, size = c.pair(f"z{i}"), ((8 + i, 50) if i % 2 else (33, 33 * 9 + i))
        c.image(line.split()[0], size=size)
        c.mask(line.split()[1], size)
        c.bad("image-tiny" if i % 2 else "image-long", line)


def forms(c: Corpus) -> None:
    c.severity = "note"
    c.lines["labeled"][0] = b"\xef\xbb\xbf" + c.lines["labeled"][0] + b"\r"
    c.lines["labeled"][2:2] = [b"", b"  ", b"\r"]
    c.expected += [(kind, f"{c.root}/labeled.txt") for kind in ("list-bom", "list-crlf", "list-blank")]


BUILDERS: tuple[Callable[[Corpus], None], ...] = (
    missing,
    unreadable,
    truncated,
    damaged_jpeg,
    damaged_png,
    bombs,
    sizes,
    turned,
    values,
    jpeg_masks,
    color_masks,
    broken_masks,
    absent_masks,
    climbing,
    absolute,
    links,
    control,
    encodings,
    long_lines,
    columns,
    jsons,
    ids,
    twice,
    shared,
    copied,
    near,
    doubled,
    wrong_masks,
    empty_masks,
    letters,
    shapes,
    forms,
)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Names and contents of everything in a folder."""
    return {str(p): b"" if p.is_symlink() or p.is_dir() else p.read_bytes() for p in sorted(folder.rglob("*"))}


def corrupt(image: Image.Image) -> bytes:
    """A JPEG whose middle is overwritten."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    data = bytearray(out.getvalue())
    data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
    return bytes(data)

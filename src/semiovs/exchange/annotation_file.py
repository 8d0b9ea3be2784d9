"""Parsed annotation files: JSON values that know their place in the file, XML elements that know their line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.exchange.xml_tree import XmlElement, parse_xml

_LONGEST = 60


@dataclass(frozen=True)
class AnnotationFile:
    """A parsed file; one of `json` and `xml` is set."""

    path: Path
    json: Any = None
    xml: XmlElement | None = None

    @classmethod
    def read(cls, path: Path) -> AnnotationFile:
        """Parse a file as JSON or XML by its content, not its name.

        Raises:
            DataError: unreadable, an archive, or neither valid JSON nor valid XML; file, line and column are named.
        """
        try:
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        if data[:4] == b"PK\x03\x04":
            raise DataError(f"{path}: a ZIP archive; unpack it and name the JSON or XML file inside")
        if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
            return cls(path, xml=parse_xml(path, data))
        return cls(path, json=_parse_json(path, data))

    @cached_property
    def root(self) -> JsonNode:
        """The JSON value.

        Raises:
            DataError: the file is XML.
        """
        if self.xml is not None:
            raise DataError(f"{self.path}: an XML file; JSON is expected")
        return JsonNode(self.json, str(self.path))


def _parse_json(path: Path, data: bytes) -> Any:
    if not data.strip():
        raise DataError(f"{path}: an empty file")
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8 text; annotations are JSON or XML") from None
    except json.JSONDecodeError as error:
        ends = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
        cut = "; the file ends in the middle (cut off?)" if ends else ""
        raise DataError(f"{path}:{error.lineno}: not valid JSON at column {error.colno}: {error.msg}{cut}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class JsonNode:
    """A JSON value and its place, ``file: annotations[17].segmentation``.

    Raises:
        DataError: the value is not of the requested type.
    """

    value: Any
    file: str
    place: str = ""

    @property
    def where(self) -> str:
        """File and place."""
        return f"{self.file}: {self.place}" if self.place else self.file

    def error(self, what: str, kind: str = "") -> DataError:
        """An error about this value."""
        return DataError(f"{self.where}: {what}", kind=kind)

    def has(self, key: str) -> bool:
        """Whether this is an object with a value for `key` that is not null."""
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def get(self, key: str) -> JsonNode:
        """Value under `key` of an object."""
        if not isinstance(self.value, dict):
            raise self.error(f"must be an object with '{key}', not {describe_kind(self.value)}")
        if key not in self.value:
            raise self.error(f"has no '{key}'")
        return JsonNode(self.value[key], self.file, f"{self.place}.{key}" if self.place else key)

    def items(self) -> Iterator[JsonNode]:
        """Values of a list."""
        if not isinstance(self.value, list):
            raise self.error(f"must be a list, not {describe_kind(self.value)}")
        for index, value in enumerate(self.value):
            yield JsonNode(value, self.file, f"{self.place}[{index}]")

    def text(self) -> str:
        """A text that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.error(f"must be a text, not {describe_kind(self.value)}")
        return self.value

    def number(self) -> float:
        """A finite number."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.error(f"must be a number, not {describe_kind(self.value)}")
        if not abs(self.value) < 1e15:
            raise self.error(
                f"must be a finite number, not {self.value if isinstance(self.value, float) else 'so large'}",
                kind="not-finite",
            )
        return float(self.value)

    def whole(self, least: int = 0) -> int:
        """A whole number of at least `least`; 640.0 is one."""
        number = self.number()
        if number != int(number) or number < least:
            raise self.error(f"must be a whole number from {least} on, not {self.value}")
        return int(number)

    def numbers(self) -> NDArray[np.float64]:
        """(N,) finite numbers."""
        values = self.value
        if not isinstance(values, list):
            raise self.error(f"must be a list of numbers, not {describe_kind(values)}")
        if not all(type(value) in (int, float) and abs(value) < 1e15 for value in values):
            for item in self.items():
                item.number()
        return np.array(values, np.float64)

    def points(self) -> NDArray[np.float64]:
        """(N, 2) from a list of pairs."""
        pairs = [item.numbers() for item in self.items()]
        for index, pair in enumerate(pairs):
            if len(pair) != 2:
                raise self.error(f"point {index} has {len(pair)} numbers instead of 2")
        return np.array(pairs, np.float64).reshape(-1, 2)


def describe_kind(value: Any) -> str:
    """Describe a JSON value in words, for messages."""
    if isinstance(value, str):
        return f"the text '{shorten_text(value)}'" if value.strip() else "an empty text"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value))
        if not isinstance(value, float)
        else str(value)
    )


def shorten_text(text: str) -> str:
    """Shorten a text of a file for a message, to one line."""
    shown = "".join(char if char.isprintable() else "�" for char in text[: _LONGEST + 1])
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"

"""Parse XML to a tree with line numbers; document types are refused, which excludes entity bombs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

from semiovs.errors import DataError

_DEEPEST = 64


@dataclass
class XmlElement:
    """An XML element. line: where it starts; text: its text outside of children."""

    tag: str
    attributes: dict[str, str]
    file: str
    line: int
    text: str = ""
    children: list[XmlElement] = field(default_factory=list)

    @property
    def where(self) -> str:
        """File, line and tag."""
        return f"{self.file}:{self.line}: <{self.tag}>"

    def error(self, what: str, kind: str = "") -> DataError:
        """An error about this element."""
        return DataError(f"{self.where}: {what}", kind=kind)

    def find_children(self, tag: str) -> list[XmlElement]:
        """Children with this tag."""
        return [child for child in self.children if child.tag == tag]

    def walk(self, *tags: str) -> list[XmlElement]:
        """Elements down a path of tags."""
        found = [self]
        for tag in tags:
            found = [child for element in found for child in element.find_children(tag)]
        return found

    def attribute(self, name: str) -> str:
        """An attribute that has to be there."""
        if name not in self.attributes:
            raise self.error(f"has no '{name}'")
        return self.attributes[name]

    def number(self, name: str) -> float:
        """An attribute that is a finite number."""
        kind = "not-finite"
        try:
            number = float(self.attribute(name))
        except ValueError:
            number, kind = float("nan"), ""
        if not abs(number) < 1e15:
            raise self.error(f"{name} must be a finite number, not '{self.attributes[name][:40]}'", kind)
        return number

    def whole(self, name: str, least: int = 0) -> int:
        """An attribute that is a whole number of at least `least`."""
        number = self.number(name)
        if number != int(number) or number < least:
            raise self.error(f"{name} must be a whole number from {least} on, not '{self.attributes[name][:40]}'")
        return int(number)


class _TreeBuilder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.root: XmlElement | None = None
        self.open: list[XmlElement] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.characters
        self.parser.StartDoctypeDeclHandler = self.doctype

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        line = self.parser.CurrentLineNumber
        if len(self.open) >= _DEEPEST:
            raise DataError(f"{self.path}:{line}: elements nested more than {_DEEPEST} deep")
        element = XmlElement(tag, attributes, str(self.path), line)
        if self.open:
            self.open[-1].children.append(element)
        else:
            self.root = element
        self.open.append(element)

    def end(self, _: str) -> None:
        self.open.pop()

    def characters(self, text: str) -> None:
        self.open[-1].text += text

    def doctype(self, *_: Any) -> None:
        raise DataError(
            f"{self.path}:{self.parser.CurrentLineNumber}: a document type (<!DOCTYPE …>); no annotation tool writes "
            f"one, and "
            "entities in it can be hostile: remove it"
        )


def parse_xml(path: Path, data: bytes) -> XmlElement:
    """Root element of an XML file.

    Raises:
        DataError: not well-formed, with a document type, or nested too deep; file and line are named.
    """
    builder = _TreeBuilder(path)
    try:
        builder.parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the last: an encoding that nobody knows
        line = builder.parser.CurrentLineNumber
        cut = (
            "; the file ends in the middle (cut off?)"
            if "no element found" in str(error) or "unclosed" in str(error)
            else ""
        )
        raise DataError(f"{path}:{line}: not valid XML: {str(error).split(':')[0]}{cut}") from None
    assert builder.root is not None
    return builder.root

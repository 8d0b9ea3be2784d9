"""Notes on how a list is written (encoding, line ends, blank lines), and on ids that differ in case only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from semiovs.data.collection import Stream
from semiovs.images.file_names import normalize_name
from semiovs.images.findings import Finding, join_first


def check_list_form(stream: Stream) -> Iterator[Finding]:
    """Yield notes about the text of the list, and warnings about its ids."""
    path = stream.manifest.origin
    if path is not None:
        data = path.read_bytes()
        for kind, what in _find_format_notes(data):
            yield Finding(kind, "note", f"{path}: {what}", stream.name, str(path))
    yield from _find_case_collisions(stream)


def _find_format_notes(data: bytes) -> Iterator[tuple[str, str]]:
    if data.startswith(b"\xef\xbb\xbf"):
        yield "list-bom", "starts with a byte order mark; it is left out"
    if b"\r" in data:
        yield "list-crlf", "has line ends of another system (CR); they are understood"
    if b"\\" in data and not data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        yield "list-backslash", "has backslashes in paths; they are understood as slashes"
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").removesuffix(b"\n").split(b"\n")
    blank = [number for number, line in enumerate(lines, 1) if not line.strip()]
    if blank and data:
        yield (
            "list-blank",
            f"has {len(blank)} blank lines, which are left out: {join_first([str(number) for number in blank])}",
        )


def _find_case_collisions(stream: Stream) -> Iterator[Finding]:
    alike = defaultdict(list)
    for record in stream.manifest:
        alike[normalize_name(record.id).casefold()].append(record)
    for records in alike.values():
        if len(records) > 1:
            where = stream.manifest.where(records[-1])
            same = len({normalize_name(record.id) for record in records}) == 1
            how = "the Unicode form of their accents (NFC, NFD)" if same else "upper and lower case"
            text = f"{records[-1].image}: ids that differ in {how} alone: {join_first([r.id for r in records])}"
            fix = "rename one: on some systems their labels would be one file"
            yield Finding("id-case", "warning", text, stream.name, where, str(records[-1].image), fix)

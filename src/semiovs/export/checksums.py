"""The checksums of an exported file and what lies beside it, in a file that ``sha256sum -c`` reads too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from semiovs.files import sha256_of, write_text
from semiovs.models.weights import checksum_file


@contextmanager
def recording(path: Path, parts: Sequence[Path]) -> Iterator[None]:
    """Write the checksums of an exported file once its finished parts have their final names, by the body.

    A process that is killed meanwhile leaves a file without checksums, never with those of another one.
    """
    sums = "".join(f"{sha256_of(part)}  {part.name}\n" for part in parts)
    checksum_file(path).unlink(missing_ok=True)
    yield
    write_text(checksum_file(path), sums)


def read_recorded(path: Path) -> dict[str, str] | None:
    """Name -> SHA-256 of an exported file and what lies beside it; None: none were written.

    Raises:
        OSError: cannot be read; ValueError: not what was written.
    """
    file = checksum_file(path)
    if not file.is_file():
        return None
    rows = [line.split(maxsplit=1) for line in file.read_text("utf-8").splitlines()]
    found = {name: digest for digest, name in rows}
    if path.name not in found or any(Path(name).name != name for name in found):
        raise ValueError(f"{file.name} is not of this file")
    return found

"""Control characters, which are shown and never obeyed: those of terminals, and those that turn text around."""

from __future__ import annotations

import re

#: Control characters, which are not allowed in names.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def escape_controls(text: str) -> str:
    """Replace control characters, and those that UTF-8 cannot hold, by escape sequences."""
    spelled = CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    return spelled.encode("utf-8", "backslashreplace").decode()


def escape_lines(text: str) -> str:
    """As `escape_controls`, but line ends and tabs stay."""
    return "\n".join("\t".join(map(escape_controls, line.split("\t"))) for line in text.split("\n"))

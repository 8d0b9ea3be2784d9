"""Options that the verbs on stores of labels share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StoreFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Store written by `semiovs label`.")]

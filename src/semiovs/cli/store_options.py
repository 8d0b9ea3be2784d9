"""What the verbs that look into a store of labels have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StoreFolder = Annotated[Path, typer.Argument(metavar="DIR", help="A store, as `semiovs label` writes it.")]

"""``semiovs hub``: share a trained model, and fetch one that others shared."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from semiovs.cli.console import Json, report
from semiovs.cli.next_steps import format_next
from semiovs.errors import UsageError

hub = typer.Typer(help="Share a trained model, and fetch those of others.", add_completion=False, rich_markup_mode=None)


@hub.callback()
def group() -> None:
    """Models on the Hugging Face hub. Every verb that takes a model takes ``hf:USER/NAME`` too."""


@hub.command()
def push(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory of a finished training.")],
    name: Annotated[str, typer.Argument(metavar="USER/NAME", help="Where it goes on the hub.")],
    licence: Annotated[
        str | None,
        typer.Option("--license", metavar="ID", help="Licence of your model, like apache-2.0; default: none."),
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="The checkpoint that scored best on the evaluation images, not the last one.")
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="Make a repository that only you see.")] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Only write the folder that would be uploaded; no network.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Upload a trained model with its card, classes and recipe; no path of this machine goes with it.

    The card names scores with their interval, the licences of encoder and teacher, and limits: read it first (--save).
    """
    from semiovs.sharing.model_folder import write_model_folder
    from semiovs.sharing.transfer import push as upload

    if save is not None:
        told = write_model_folder(run, save, name=name, licence=licence, best=best)
        files, url = sorted(save.iterdir()), None
        text = f"{save}: {', '.join(file.name for file in files)}; nothing was uploaded"
    else:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            told = write_model_folder(run, folder, name=name, licence=licence, best=best)
            url = upload(folder, name, private=private, message=f"{told.architecture}, trained by {told.method}")
        text = f"{url}\n{format_next([f'semiovs hub pull {name}'])}"
    miou = None if told.scores is None else round(told.scores.miou, 2)
    report({"name": name, "url": url, "folder": save and str(save), "miou": miou}, as_json=as_json, text=text)


@hub.command()
def pull(
    name: Annotated[str, typer.Argument(metavar="USER/NAME[@REVISION]", help="A model that semiovs shared.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="A new folder; default: NAME, here.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a model with its card, classes and recipe into a folder."""
    from semiovs.sharing.transfer import pull as fetch

    out = out or Path(name.removeprefix("hf:").partition("@")[0].rpartition("/")[2])
    if not out.name:
        raise UsageError(f"{name}: not a name of a model on the hub; it is like USER/NAME")
    files = fetch(name, out)
    step = f"semiovs predict {out / 'model.safetensors'} photos/"
    text = f"{out}: {', '.join(file.name for file in files)}\n{format_next([f'# photos/: your images: {step}'])}"
    report({"folder": str(out), "files": [str(file) for file in files]}, as_json=as_json, text=text)

"""The shell: which verbs there are, and what an exception means to the one who typed.

A verb is one row of `VERBS` and one function; its module is imported when the verb runs or its own ``--help`` is asked, so that
``semiovs --help`` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from semiovs import __version__
from semiovs.cli import console
from semiovs.env import log_level
from semiovs.errors import ResourcesError, SemiovsError, UsageError, did_you_mean, is_out_of_memory


@dataclass(frozen=True)
class Verb:
    """Where a verb's function (or group of functions) lives, and its line in ``semiovs --help``."""

    target: str
    help: str


VERBS: Mapping[str, Verb] = {
    "doctor": Verb("semiovs.cli.doctor:doctor", "Check this machine: versions, GPU, disk, weights."),
    "list": Verb("semiovs.cli.listing:list_", "What can be named: methods, encoders, presets, vocabularies, …"),
    "config": Verb("semiovs.cli.config:config", "Show, compare, validate configurations; print the schema."),
    "weights": Verb("semiovs.cli.weights:weights", "Weights: which there are, fetch them, check them."),
    "convert": Verb("semiovs.cli.convert:convert", "A published checkpoint into a model of ours, and back."),
    "vocab": Verb("semiovs.cli.vocab:vocab", "Show, check and compare vocabularies: classes, concepts, colours."),
    "data": Verb("semiovs.cli.data:data", "Your images: check, count, split them; prepare benchmarks."),
    "splits": Verb("semiovs.cli.splits:splits", "Published lists of images: fetch, look at, write out, verify."),
    "init": Verb("semiovs.cli.init:init", "Look at a folder of images and write a commented starter YAML."),
    "card": Verb("semiovs.cli.card:card", "What a teacher is worth on the labelled images, as a page."),
    "calibrate": Verb("semiovs.cli.calibrate:calibrate", "Fit a teacher's thresholds and confidences on the labelled images."),
    "select": Verb("semiovs.cli.select:select", "Choose images from elsewhere: on topic, balanced, no copies, no leaks."),
    "label": Verb("semiovs.cli.label:label", "Label images with an open-vocabulary teacher, into a store."),
    "labels": Verb("semiovs.cli.labels:labels", "Labels: stats, verify, merge, view, and to annotation programs and back."),
    "ovs": Verb("semiovs.cli.ovs:ovs", "Train an open-vocabulary teacher on labelled images with class names."),
    "train": Verb("semiovs.cli.train:train", "Train from a preset or YAML, with key=value on top."),
    "resume": Verb("semiovs.cli.resume:resume", "Continue a run from its newest valid checkpoint."),
    "evaluate": Verb("semiovs.cli.evaluate:evaluate", "Per-class IoU of a run or of weights."),
    "predict": Verb("semiovs.cli.predict:predict", "Segment images: masks and overlays."),
    "demo": Verb("semiovs.cli.demo:demo", "The whole story on made-up images, on a CPU, in minutes."),
}  # fmt: skip

#: 128 + SIGPIPE, as shells report it: whoever read our stdout went away.
BROKEN_PIPE = 141

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
# typer carried click inside from some version on; these are its own names for click's errors in both worlds
_CLICK_ERROR: type[Any] = typer.BadParameter.__mro__[2]


class _Verbs(TyperGroup):
    """Lists verbs by their row alone, and imports the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise UsageError(f"no verb '{args[0]}'{did_you_mean(args[0], self.commands)}; see semiovs --help")
        name, stub, rest = super().resolve_command(ctx, args)
        return name, (load(name) if name and name in VERBS else stub), rest


def load(name: str) -> Any:
    """Import the verb called `name` as a command."""
    module, _, attribute = VERBS[name].target.partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        function, found = found, typer.Typer(add_completion=False, rich_markup_mode=None)
        found.command(name, context_settings=_SETTINGS)(function)
    command = get_command(found)
    command.name = name
    return command


def _program() -> Any:
    program = typer.Typer(
        name="semiovs", cls=_Verbs, add_completion=False, rich_markup_mode=None, context_settings=_SETTINGS,
        invoke_without_command=True,
        epilog="Exit codes: 0 done, 1 bug, 2 usage or configuration, 3 data, 4 weights or missing extra, 5 diverged, "
        "75 preempted after a checkpoint, 130 interrupted.",
    )  # fmt: skip

    @program.callback()
    def semiovs(
        context: typer.Context,
        version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    ) -> None:
        """Semi-supervised semantic segmentation with open-vocabulary teachers: few masks, many bare images."""
        if version:
            console.out(f"semiovs {__version__}")
            raise typer.Exit
        if context.invoked_subcommand is None:
            console.out(context.get_help())

    group = get_command(program)
    for name, verb in VERBS.items():
        group.add_command(TyperCommand(name=name, help=verb.help))  # type: ignore[attr-defined]
    return group


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; no exception leaves."""
    try:
        with console.session():
            code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        _silence()
        return BROKEN_PIPE
    except (KeyboardInterrupt, typer.Abort):
        console.log("interrupted")
        return 130
    except SemiovsError as failure:
        _traceback()
        console.error(str(failure))
        return failure.exit_code
    except OSError as failure:
        _traceback()
        where = f": {failure.filename}" if failure.filename else ""
        console.error(f"{failure.strerror or failure}{where}")
        return 3
    except Exception as failure:
        told = _traceback()
        if is_out_of_memory(failure):
            reason = next(iter(str(failure).splitlines()), "")[:200]
            console.error(
                f"out of memory{reason and f' ({reason})'}; take smaller batches or images, or a machine with more memory"
            )
            return ResourcesError.exit_code
        hint = "" if told else "; run with SEMIOVS_LOG_LEVEL=DEBUG for the traceback"
        console.log(f"internal error: {type(failure).__name__}: {failure}{hint}")
        return 1
    return code


def _run(arguments: list[str]) -> int:
    program = _program()
    try:
        with program.make_context("semiovs", arguments) as context:
            program.invoke(context)
    except typer.Exit as done:
        return int(done.exit_code)
    except _CLICK_ERROR as wrong:
        console.error(" ".join(wrong.format_message().replace("Value error, ", "").split()))  # some take several lines
        context = getattr(wrong, "ctx", None)
        console.log(f"try: {context.command_path if context else 'semiovs'} --help")
        return int(wrong.exit_code)
    return 0


def _traceback() -> bool:
    """Print the traceback of the exception at hand if the user wants to see everything."""
    if log_level() != "DEBUG":
        return False
    import traceback

    traceback.print_exc(file=sys.stderr)
    return True


def _silence() -> None:
    """Let the interpreter's last flush of stdout go nowhere."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return

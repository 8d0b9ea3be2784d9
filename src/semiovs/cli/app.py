"""The command line program: the table of verbs, and how errors become messages and exit codes.

A verb is one row of `VERBS` and one function; its module is imported when the verb runs or its own ``--help`` is asked,
so that ``semiovs --help`` is quick.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import FrameType
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
    """A verb: import path of its function (or group of functions), and its line in ``semiovs --help``."""

    target: str
    help: str


VERBS: Mapping[str, Verb] = {
    "doctor": Verb("semiovs.cli.doctor:doctor", "Check this machine: versions, GPU, disk, weights."),
    "list": Verb("semiovs.cli.listing:list_", "List methods, encoders, presets, vocabularies, …"),
    "config": Verb("semiovs.cli.config:config", "Show, compare, validate configurations; print the schema."),
    "weights": Verb("semiovs.cli.weights:weights", "List, fetch and check weights."),
    "convert": Verb("semiovs.cli.convert:convert", "Convert published checkpoints to semiovs models, and back."),
    "vocab": Verb("semiovs.cli.vocab:vocab", "Show, check and compare vocabularies: classes, concepts, colours."),
    "data": Verb("semiovs.cli.data:data", "Check, count and split your images; prepare benchmarks."),
    "splits": Verb("semiovs.cli.splits:splits", "Fetch, show, export and verify the published lists of images."),
    "init": Verb("semiovs.cli.init:init", "Look at a folder of images and write a commented starter YAML."),
    "card": Verb("semiovs.cli.card:card", "Measure a teacher on the labelled images; writes a page."),
    "calibrate": Verb("semiovs.cli.calibrate:calibrate", "Fit a teacher's thresholds and confidences on the labelled "
                                                         "images."),
    "select": Verb("semiovs.cli.select:select", "Choose OOD images: on topic, balanced, no copies, no leaks."),
    "label": Verb("semiovs.cli.label:label", "Label images with an open-vocabulary teacher; writes a store of labels."),
    "labels": Verb("semiovs.cli.labels:labels", "Inspect, verify, merge and view stored labels; export and import "
                                                "annotations."),
    "ovs": Verb("semiovs.cli.ovs:ovs", "Train an open-vocabulary teacher on labelled images with class names."),
    "bench": Verb("semiovs.cli.bench:bench", "Time this machine on your data; propose workers, batch, precision."),
    "train": Verb("semiovs.cli.train:train", "Train from a preset or YAML, with key=value on top."),
    "resume": Verb("semiovs.cli.resume:resume", "Continue a run from its newest valid checkpoint."),
    "evaluate": Verb("semiovs.cli.evaluate:evaluate", "Per-class IoU of a run or of weights."),
    "report": Verb("semiovs.cli.report:write_report", "Write the page of a run, or of a comparison."),
    "predict": Verb("semiovs.cli.predict:predict", "Segment images: masks and overlays."),
    "hub": Verb("semiovs.cli.hub:hub", "Share a trained model on the hub; fetch those of others."),
    "export": Verb("semiovs.cli.export:export", "Write the model for ONNX, OpenVINO or torch.export; check it first."),
    "compare": Verb("semiovs.cli.compare:compare", "Did the images help? Train the arms, over seeds; say the verdict."),
    "study": Verb("semiovs.cli.study:study", "A published table as a queue: plan, cost, missing files, trainings."),
    "verify": Verb("semiovs.cli.verify:verify", "Is a run, store, comparison or exported file whole?"),
    "demo": Verb("semiovs.cli.demo:demo", "Run everything on synthetic images, on a CPU, in minutes."),
}  # fmt: skip

#: Exit codes when the reader of stdout is gone, and when SIGTERM ended a command that has nothing to save: 128 + the
#: signal's number, as shells report it.
BROKEN_PIPE, TERMINATED = 141, 143

#: Environment variable by which the scripts of `--show-completion` ask what a word could become.
_COMPLETION = "_SEMIOVS_COMPLETE"
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
# the base class of click's errors, whether typer bundles click or depends on it
_CLICK_ERROR: type[Any] = typer.BadParameter.__mro__[2]


class _Command(TyperCommand):
    """Refuses an option that is given twice and does not collect: its first value would be lost without a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option, times in Counter[Any](given).items():
            if times > 1 and option.param_type_name == "option" and not (option.multiple or option.is_flag):
                raise UsageError(f"{option.opts[0]} is given {times} times; it takes one value")
        return super().parse_args(ctx, args)


class _VerbGroup(TyperGroup):
    """Lists verbs by their row alone, and imports the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        unknown = args[0] not in self.commands and not args[0].startswith("-")
        if unknown and not ctx.resilient_parsing:  # what a shell completes is not yet a verb
            raise UsageError(f"no verb '{args[0]}'{did_you_mean(args[0], self.commands)}; see semiovs --help")
        name, stub, rest = super().resolve_command(ctx, args)
        return name, (load_verb(name) if name and name in VERBS else stub), rest


def load_verb(name: str) -> Any:
    """Import the verb called `name` as a command."""
    module, _, attribute = VERBS[name].target.partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        function, found = found, typer.Typer(add_completion=False, rich_markup_mode=None)
        found.command(name, context_settings=_SETTINGS)(function)
    for row in found.registered_commands:
        row.cls = _Command
    command = get_command(found)
    command.name = name
    return command


def _build_program() -> Any:
    program = typer.Typer(
        name="semiovs",
        cls=_VerbGroup,
        rich_markup_mode=None,
        context_settings=_SETTINGS,
        invoke_without_command=True,
        epilog="Exit codes: 0 done, 1 bug, 2 usage or configuration, 3 data, 4 weights or missing extra, 5 diverged, "
        "75 preempted after a checkpoint, 130 interrupted, 143 ended by SIGTERM.",
    )

    @program.callback()
    def semiovs(
        context: typer.Context,
        version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    ) -> None:
        """Semi-supervised semantic segmentation with open-vocabulary teachers: few masks, many unlabelled images."""
        if version:
            console.out(f"semiovs {__version__}")
            raise typer.Exit
        if context.invoked_subcommand is None:
            console.out(context.get_help())

    group = get_command(program)
    for name, verb in VERBS.items():
        group.add_command(TyperCommand(name=name, help=verb.help))  # type: ignore[attr-defined]
    return group


class _Terminated(BaseException):
    """SIGTERM, as an exception, so that temporary files are removed."""


@contextmanager
def _raise_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end what is running at once by an exception; a second one ends the process.

    Verbs that save something first take the signal over (`engine.signals`).
    """

    def end(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise _Terminated

    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; exceptions become messages and exit codes."""
    try:
        with _raise_on_sigterm():
            return _main(arguments)
    except _Terminated:
        console.log("stopped by SIGTERM")
        return TERMINATED


def _main(arguments: Sequence[str] | None) -> int:
    try:
        with console.session():
            code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except (KeyboardInterrupt, typer.Abort):
        console.log("interrupted")
        return 130
    except SemiovsError as failure:
        _print_traceback()
        console.error(str(failure))
        return failure.exit_code
    except OSError as failure:
        _print_traceback()
        if failure.errno in (errno.EMFILE, errno.ENFILE):
            console.error(f"too many open files{_name(failure)}; raise the limit (ulimit -n)")
            return ResourcesError.exit_code
        console.error(f"{failure.strerror or failure}{_name(failure)}")
        return 3
    except Exception as failure:
        told = _print_traceback()
        if isinstance(failure, UnicodeEncodeError) and "surrogates" in failure.reason:
            name = failure.object[: failure.end][-120:]
            console.error(f"'{name}': a name that is no UTF-8 text, which no file can hold; rename the file or folder")
            return 3
        if is_out_of_memory(failure):
            reason = next(iter(str(failure).splitlines()), "")[:200]
            console.error(
                f"out of memory{reason and f' ({reason})'}; take smaller batches or images, or a machine with "
                f"more memory"
            )
            return ResourcesError.exit_code
        hint = "" if told else "; run with SEMIOVS_LOG_LEVEL=DEBUG for the traceback"
        console.log(f"internal error: {type(failure).__name__}: {failure}{hint}")
        return 1
    return code


def _name(failure: OSError) -> str:
    return f": {failure.filename}" if failure.filename else ""


def _run(arguments: list[str]) -> int:
    program = _build_program()
    if _COMPLETION in os.environ:
        program.main(arguments, "semiovs", complete_var=_COMPLETION)  # a shell asks, and the process ends here
    try:
        with program.make_context("semiovs", arguments) as context:
            program.invoke(context)
    except typer.Exit as done:  # with 1: typer knows no completion for this shell, and has said so
        return UsageError.exit_code if done.exit_code == 1 else int(done.exit_code)
    except _CLICK_ERROR as wrong:
        console.error(" ".join(wrong.format_message().replace("Value error, ", "").split()))  # some take several lines
        context = getattr(wrong, "ctx", None)
        console.log(f"try: {context.command_path if context else 'semiovs'} --help")
        return int(wrong.exit_code)
    return 0


def _print_traceback() -> bool:
    """Print the traceback of the current exception if `SEMIOVS_LOG_LEVEL` is DEBUG; returns whether it did."""
    if log_level() != "DEBUG":
        return False
    import traceback

    console.log(traceback.format_exc())
    return True


def _silence_stdout() -> None:
    """Send stdout to /dev/null, so that the interpreter's last flush cannot fail."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return

"""Files damaged between two processes: what is left must be enough, or the command must say that it is not."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.chaos.equality import run_difference, store_difference
from benchmarks.chaos.harm import Harm
from benchmarks.chaos.learners import METHODS
from benchmarks.chaos.trial import Story, kind, require, require_code, require_same
from benchmarks.chaos.world import World, tree


def truncate(path: Path, draws: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draws.randrange(1, max(2, len(content)))])


def flip(path: Path, draws: random.Random) -> None:
    """Up to eight bits."""
    content = bytearray(path.read_bytes())
    for position in {draws.randrange(len(content)) for _ in range(draws.randint(1, 8))}:
        content[position] ^= 1 << draws.randrange(8)
    path.write_bytes(content)


def zero(path: Path, draws: random.Random) -> None:
    """Up to 4096 bytes in the middle, as a lost block leaves them."""
    content = bytearray(path.read_bytes())
    begin = draws.randrange(len(content))
    end = min(len(content), begin + 4096)
    content[begin:end] = bytes(end - begin)
    if bytes(content) == path.read_bytes():  # they were zero before
        content[begin] = 255
    path.write_bytes(content)


def empty(path: Path, _draws: random.Random) -> None:
    path.write_bytes(b"")


def exchange(path: Path, _draws: random.Random) -> None:
    """The content of another checkpoint under this name."""
    other = next(each for each in sorted(path.parent.glob("step-*.pt")) if each != path)
    path.write_bytes(other.read_bytes())


def lose_sidecar(path: Path, _draws: random.Random) -> None:
    _sidecar(path).unlink(missing_ok=True)


def wrong_sidecar(path: Path, draws: random.Random) -> None:
    _sidecar(path).write_text(f"{draws.getrandbits(256):064x}  {path.name}\n", "utf-8")


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (
    truncate,
    flip,
    zero,
    empty,
    exchange,
    lose_sidecar,
    wrong_sidecar,
)


def _copy_of(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / "run", symlinks=True))


@kind("corrupt-checkpoint", "the newest one or two checkpoints damaged, one is left", times=28)
def corrupt_checkpoint(world: World, story: Story) -> None:
    method = list(METHODS)[story.number % 2]
    straight, folder = world.straight(method), world.folder()
    run = _copy_of(world.stopped(method), folder)
    steps = sorted((run / "checkpoints").glob("step-*.pt"))
    require(len(steps) == 3, f"the killed run has {[path.name for path in steps]}")
    victims = steps[-story.draws.randint(1, 2) :]
    for place, path in enumerate(victims):
        damage = DAMAGES[story.number % len(DAMAGES)] if not place else story.draws.choice(DAMAGES)
        damage(path, story.draws)
        story.tell(f"{method}: {damage.__name__} {path.name}")
    code, told = world.command(["resume", str(run)], folder)
    require_code(code, 0, told, "resume")
    for path in victims:
        require(path.name in told, f"nothing was said of {path.name}", told)
    require_same(run_difference(run, straight))


@kind("corrupt-all", "every checkpoint damaged: an error, never a silent new beginning", times=14)
def corrupt_all(world: World, story: Story) -> None:
    folder = world.folder()
    run = _copy_of(world.stopped("unimatch"), folder)
    damage = DAMAGES[story.number % len(DAMAGES)]
    for path in sorted((run / "checkpoints").glob("*.pt"), reverse=True):
        if path.name != "last.pt":
            (damage if damage is not exchange else flip)(path, story.draws)
    story.tell(f"{damage.__name__} of all checkpoints")
    before = {name: data for name, data in tree(run).items() if name not in (".lock", "log.txt")}
    code, told = world.command(["resume", str(run)], folder)
    require_code(code, 4, told, "resume without a valid checkpoint")
    require("damaged" in told, "the message does not say what is wrong", told)
    after = {name: data for name, data in tree(run).items() if name not in (".lock", "log.txt")}
    require(before == after, f"it changed {sorted(n for n in {*before, *after} if before.get(n) != after.get(n))}")


def _dangling(run: Path, _draws: random.Random) -> None:
    link = run / "checkpoints" / "last.pt"
    link.unlink()
    link.symlink_to("step-00009999.pt")


def _no_last(run: Path, _draws: random.Random) -> None:
    (run / "checkpoints" / "last.pt").unlink()


def _torn_row(run: Path, draws: random.Random) -> None:
    content = (run / "metrics.jsonl").read_bytes()
    last = content.rstrip(b"\n").rfind(b"\n") + 1
    (run / "metrics.jsonl").write_bytes(content[: draws.randrange(last + 1, len(content) - 1)])


def _garbage_row(run: Path, draws: random.Random) -> None:
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(draws.randbytes(60))


def _garbage_lock(run: Path, draws: random.Random) -> None:
    (run / ".lock").write_bytes(draws.randbytes(50))


def _other_run_files(run: Path, draws: random.Random) -> None:
    for name in ("command.txt", "env.json", "log.txt"):
        if (run / name).exists():
            truncate(run / name, draws)


def _best_lost(run: Path, draws: random.Random) -> None:
    draws.choice((truncate, flip, empty, lose_sidecar, wrong_sidecar))(run / "checkpoints" / "best.pt", draws)


def _temporaries(run: Path, draws: random.Random) -> None:
    """What a killed process of this host leaves."""
    import socket

    for name in ("step-00000010.pt", "best.pt.sha256", "last.pt"):
        path = run / "checkpoints" / f"{name}.tmp-{socket.gethostname()}-4194303-{draws.getrandbits(128):032x}"
        path.write_bytes(draws.randbytes(99))


_HARMLESS: tuple[Callable[[Path, random.Random], None], ...] = (
    _dangling,
    _torn_row,
    _no_last,
    _garbage_row,
    _garbage_lock,
    _temporaries,
    _other_run_files,
)


@kind("corrupt-beside", "last.pt, the end of metrics.jsonl, .lock, logs and left-over files", times=7)
def corrupt_beside(world: World, story: Story) -> None:
    folder, damage = world.folder(), _HARMLESS[story.number % len(_HARMLESS)]
    run = _copy_of(world.stopped("unimatch"), folder)
    damage(run, story.draws)
    story.tell(damage.__name__.strip("_"))
    code, told = world.command(["resume", str(run)], folder)
    require_code(code, 0, told, "resume")
    require_same(run_difference(run, world.straight("unimatch")))


@kind("corrupt-config", "config.yaml or data.json torn, flipped or empty: an error, or the same result", times=8)
def corrupt_config(world: World, story: Story) -> None:
    folder, damage = world.folder(), (truncate, flip, empty, zero)[story.number % 4]
    run = _copy_of(world.stopped("supervised"), folder)
    name = ("config.yaml", "data.json")[story.number // 4 % 2]
    damage(run / name, story.draws)
    story.tell(f"{damage.__name__} {name}")
    code, told = world.command(["resume", str(run)], folder)
    require_code(code, (0, 2, 3, 4), told, "resume")
    if code != 0:
        require(name in told or "config" in told or "data" in told, "the message does not name the file", told)
        shutil.copy(world.stopped("supervised") / name, run / name)
        code, told = world.command(["resume", str(run)], folder)
        require_code(code, 0, told, f"resume with {name} of a backup")
    require_same(run_difference(run, world.straight("supervised")))


@kind("corrupt-best", "best.pt or its checksum damaged", times=3)
def corrupt_best(world: World, story: Story) -> None:
    """A later evaluation of this run is better, so that nothing is lost in the end."""
    folder = world.folder()
    run = _copy_of(world.stopped("unimatch"), folder)
    _best_lost(run, story.draws)
    story.tell("best.pt damaged")
    code, told = world.command(["resume", str(run)], folder)
    require_code(code, 0, told, "resume")
    require("best.pt" in told, "nothing was said of best.pt", told)
    require_same(run_difference(run, world.straight("unimatch")))


@kind("corrupt-store", "a store of labels with a torn index, a torn description, a damaged label", times=12)
def corrupt_store(world: World, story: Story) -> None:
    straight, folder = world.store(), world.folder()
    store, draws = folder / "store", story.draws
    harm = Harm(str(store), "kill", draws.randint(60, max(61, len(world.events(straight)) - 10)))
    world.command(world.labelling(store), folder, harm)
    which = story.number % 3
    if which == 0:
        with (store / "index.jsonl").open("ab") as file:
            file.write(b'{"id": "m99", "label": "' + draws.randbytes(9))
        story.tell("torn last line of index.jsonl")
    elif which == 1:
        truncate(store / "meta.json", draws)
        story.tell("torn meta.json")
        code, told = world.command(world.labelling(store), folder)
        require_code(code, 3, told, "label onto a torn description")
        shutil.copy(straight / "meta.json", store / "meta.json")
    else:
        code, told = world.command(world.labelling(store), folder)
        label = draws.choice(sorted((store / "labels").glob("*.png")))
        draws.choice((truncate, flip, empty))(label, draws)
        story.tell(f"damaged {label.name}")
        code, told = world.command(["labels", "verify", str(store)], folder)
        require_code(code, 3, told, "labels verify")
        require(label.stem in told, "verify does not name the label", told)
        return
    code, told = world.command(world.labelling(store), folder)
    require_code(code, 0, told, "the command that goes on")
    require_same(store_difference(store, straight))

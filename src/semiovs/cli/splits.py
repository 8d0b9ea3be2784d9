"""``semiovs splits``: the published lists of images; fetch, look at, write out, verify."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, log, report, table
from semiovs.cli.progress import progress
from semiovs.errors import DataError

if TYPE_CHECKING:
    from semiovs.datasets.split_cache import ListCheck, SplitCache
    from semiovs.datasets.split_fetch import FetchResult
    from semiovs.datasets.splits import PublishedList

splits = typer.Typer(
    help="Published lists of images: fetch, list, show, export, verify.", add_completion=False, rich_markup_mode=None
)

_Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Data sets (pascal), splits (pascal/92) or lists; none: all."),
]
#: Files that are named in the text; all of them are in the JSON report.
_SHOWN = 12


@splits.callback()
def group() -> None:
    """Published lists of images. The program knows their names, counts and hashes; the lists are fetched by you."""


@splits.command()
def fetch(
    names: _Names = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR|ARCHIVE", help="Clones or archives of the repositories, instead of the network."),
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Get lists from their repositories at fixed commits, check each, keep them in the cache.

    Exit code 3 if one is refused or missing.
    """
    from semiovs.datasets.split_cache import SplitCache
    from semiovs.datasets.split_fetch import fetch_lists as get

    cache = SplitCache()
    wanted = cache.known.select(names or ())
    with progress("lists") as show:
        done = get(cache, wanted, source, show)
    report({"cache": str(cache.folder), **done.as_json()}, as_json=as_json, text=_fetched(done, cache, wanted))
    if done.refused:
        raise DataError(f"{len(done.refused)} files were refused{_missing(done)}; what was right is in {cache.folder}")
    if done.missing:
        where = f"{source} does not hold them" if source else "see above"
        raise DataError(f"{len(done.missing)} lists are still missing, like {done.missing[0]}: {where}")


def _missing(done: FetchResult) -> str:
    return f" and {len(done.missing)} lists are missing" if done.missing else ""


def _fetched(done: FetchResult, cache: SplitCache, wanted: Sequence[PublishedList]) -> str:
    lines = [f"{len(done.added)} lists added, {len(done.here)} were here, of {len(wanted)}; in {cache.folder}"]
    lines += [f"  refused: {name}: {reason}" for name, reason in done.refused[:_SHOWN]]
    lines += [f"  … and {len(done.refused) - _SHOWN} more"] if len(done.refused) > _SHOWN else []
    lines += [f"  missing: {name}" for name in done.missing[:_SHOWN]]
    lines += [f"  … and {len(done.missing) - _SHOWN} more"] if len(done.missing) > _SHOWN else []
    if done.added or done.here:
        sources = {key: cache.known.repositories[key] for one in wanted for key in one.repositories[:1]}
        cited = ", ".join(f"{row.repository} ({row.cite}, {row.licence})" for row in sources.values())
        lines.append(f"published by {cited}: cite them when you use their lists")
    return "\n".join(lines)


@splits.command("list")
def list_(names: _Names = None, as_json: Json = False) -> None:
    """List the published splits: how many images, who published them, whether they are here."""
    from semiovs.datasets.split_cache import SplitCache

    cache = SplitCache()
    found = cache.known.select(names or ())
    here = {one.name: cache.check(one).ok for one in found}
    rows: list[dict[str, Any]] = [
        {
            "name": split,
            "lists": {one.name.rpartition("/")[2]: one.count for one in lists},
            "here": all(here[one.name] for one in lists),
            "repositories": list(dict.fromkeys(key for one in lists for key in one.repositories)),
        }
        for split, lists in _by_split(found).items()
    ]
    shown = [
        (row["name"], ", ".join(f"{file.removesuffix('.txt')} {count:,}" for file, count in row["lists"].items()),
         ", ".join(row["repositories"]), "yes" if row["here"] else "no")
        for row in rows
    ]  # fmt: skip
    report(rows, as_json=as_json, text=table(["split", "images", "published by", "here"], shown))
    if not all(here.values()):
        log("next: semiovs splits fetch")


def _by_split(lists: Iterable[PublishedList]) -> dict[str, list[PublishedList]]:
    found: dict[str, list[PublishedList]] = {}
    for one in lists:
        found.setdefault(one.split, []).append(one)
    return found


@splits.command()
def show(name: Annotated[str, typer.Argument(help="A split, like pascal/92.")], as_json: Json = False) -> None:
    """Show a split: counts, hashes, sources, and what it is nested in."""
    from semiovs.datasets.split_cache import SplitCache

    cache = SplitCache()
    rows = []
    for one in cache.known.select([name]):
        checked, about = cache.check(one), cache.known.datasets[one.dataset]
        rows.append(
            {
                **checked.as_json(),
                "data": {"name": about.name, "classes": about.classes, "training images": about.universe},
                "sha256": one.sha256,
                "sources": [cache.known.repositories[key].url(one.path) for key in one.repositories],
                "nested in": cache.nested_in(one) if checked.ok else None,
                "contains": cache.contains(one) if checked.ok else None,
            }
        )
    report(rows, as_json=as_json, text="\n".join(_shown(row) for row in rows))


def _shown(row: dict[str, Any]) -> str:
    data = row["data"]
    state = "here" + ("" if row["exact"] else ", lines sorted") if row["ok"] else f"not here: {row['get']}"
    lines = [
        f"{row['name']}: {row['count']:,} images ({state})",
        f"  data.name={data['name']} data.classes={data['classes']}, {data['training images']:,} training images in all",
        f"  sha256 {row['sha256']}",
        *(f"  {address}" for address in row["sources"]),
    ]
    lines += [f"  {what} {', '.join(row[what])}" for what in ("nested in", "contains") if row[what]]
    return "\n".join(lines)


@splits.command()
def export(
    names: _Names = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Lists are written to DIR/splits/…; the data's root suits.")
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there and differ.")] = False,
    as_json: Json = False,
) -> None:
    """Write lists as text files, where the presets look for them, with the evaluation list of their data set.

    For COCO, lists of bare images are made too where DIR holds its training images.
    """
    from semiovs.datasets.coco import bare_lists
    from semiovs.datasets.split_cache import SplitCache
    from semiovs.datasets.splits import LABELED
    from semiovs.files import write_bytes

    cache = SplitCache()
    wanted = {one.name: one for one in cache.known.select(names or ())}
    for key in {one.dataset for one in wanted.values()}:
        wanted.update((n, one) for n, one in cache.known.lists.items() if n == f"{key}/val.txt")
    texts = {name: cache.text(one) for name, one in wanted.items()}
    labeled = [name for name, one in wanted.items() if one.dataset == "coco" and name.endswith(LABELED)]
    bare = bare_lists(out, {name: texts[name][0].decode() for name in labeled})
    if labeled and out.is_dir() and not bare:
        log(f"note: {out} holds no train2017/, so the lists of bare images of COCO are not written")
    texts |= {name: (text.encode(), False) for name, text in bare.items()}
    targets = {name: out / "splits" / name for name in texts}
    differing = [path for name, path in targets.items() if path.exists() and path.read_bytes() != texts[name][0]]
    if differing and not force:
        raise DataError(f"{differing[0]}: is there and differs ({len(differing)} such files); --force replaces them")
    for name, (text, _) in texts.items():
        write_bytes(targets[name], text)
    rows = [{"name": name, "file": str(targets[name]), "exact": exact} for name, (_, exact) in texts.items()]
    exact = sum(row["exact"] is True for row in rows)
    lines = [f"{len(rows)} lists written below {out / 'splits'}, {exact} of them byte for byte as published"]
    lines += [f"  as published but sorted: {row['name']}" for row in rows if not row["exact"]]
    report(rows, as_json=as_json, text="\n".join(lines))


@splits.command()
def verify(names: _Names = None, as_json: Json = False) -> None:
    """Check the copies in the cache against the recorded counts and hashes. Exit code 3 if one is missing or wrong."""
    from semiovs.datasets.split_cache import SplitCache

    cache = SplitCache()
    found = [cache.check(one) for one in cache.known.select(names or ())]
    shown = [(one.one.name, one.one.count, _state(one)) for one in found]
    report([one.as_json() for one in found], as_json=as_json, text=table(["list", "images", ""], shown))
    wrong = [one for one in found if not one.ok]
    if wrong:
        commands = list(dict.fromkeys(f"semiovs splits fetch {one.one.dataset}" for one in wrong))
        raise DataError(f"{len(wrong)} of {len(found)} lists are not here or damaged; next: {'; '.join(commands)}")


def _state(checked: ListCheck) -> str:
    if not checked.ok:
        return checked.problem
    return "ok" if checked.exact else "ok (the same lines, sorted)"

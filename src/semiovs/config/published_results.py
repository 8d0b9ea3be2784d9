"""Published results: preset, changed settings and the published mIoU, read from ``published.yaml``.

``python -m semiovs.config.published_results docs/reference/presets.md`` writes the tables anew after a change of the
data.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import yaml

#: The tables of a page follow this line.
MARK = "<!-- generated: python -m semiovs.config.published_results -->\n"


@dataclass(frozen=True)
class PublishedSetting:
    """One published setting. change: command line arguments after the preset; miou: mIoU (%) per column, None if
    unknown.
    """

    name: str
    change: str
    miou: tuple[float | None, ...]
    source: str


@dataclass(frozen=True)
class PublishedGroup:
    """The published settings of one data set and split. columns: heading -> preset."""

    title: str
    columns: Mapping[str, str]
    settings: tuple[PublishedSetting, ...]

    def list_commands(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield (preset, changes) of every setting."""
        for setting in self.settings:
            for preset in self.columns.values():
                yield preset, tuple(setting.change.split())


@cache
def load_published() -> tuple[PublishedGroup, ...]:
    """Load all groups, in the order of the file."""
    data = yaml.safe_load((resources.files("semiovs.config") / "published.yaml").read_text("utf-8"))
    return tuple(
        PublishedGroup(
            group["title"],
            {str(heading): preset for heading, preset in group["columns"].items()},
            tuple(PublishedSetting(r["name"], r["change"], tuple(r["miou"]), r["source"]) for r in group["rows"]),
        )
        for group in data
    )


def fill_page(text: str) -> str:
    """Replace everything after `MARK` in a page by the current tables."""
    head, mark, _ = text.partition(MARK)
    return f"{head}{mark}\n" + "\n\n".join(_format_group(group) for group in load_published()) + "\n"


def _format_group(group: PublishedGroup) -> str:
    folder = next(iter(group.columns.values())).rpartition("/")[0]
    presets = ", ".join(f"`{preset.removeprefix(f'{folder}/')}`" for preset in group.columns.values())
    lines = [
        f"### {group.title}",
        "",
        f"Presets `{folder}/…`: {presets}.",
        "",
        f"| setting | after the preset | {' | '.join(group.columns)} | source |",
        f"|---|---|{'---|' * len(group.columns)}---|",
    ]
    return "\n".join([*lines, *(_format_row(setting) for setting in group.settings)])


def _format_row(setting: PublishedSetting) -> str:
    numbers = " | ".join("–" if value is None else f"{value:.1f}" for value in setting.miou)
    change = f"`{setting.change}`" if setting.change else ""
    return f"| {setting.name} | {change} | {numbers} | {setting.source} |"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(fill_page(Path(name).read_text("utf-8")), "utf-8")

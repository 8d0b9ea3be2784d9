"""Files and lines that we write must not run, or steer the terminal: CSV, Markdown, pages, figures, logs, progress."""

from __future__ import annotations

import csv
import io
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from semiovs import progress
from semiovs.cli import console
from semiovs.cli.app import main
from semiovs.comparison.tables import format_csv, format_markdown
from semiovs.control_characters import CONTROL, escape_controls, escape_lines
from semiovs.engine.run import Run
from semiovs.engine.training import _LogFormatter
from semiovs.engine.writers import ConsoleWriter
from semiovs.report.csv_table import format_csv_rows
from semiovs.report.figures import escape_math, render_svg
from semiovs.report.page import write_page
from unit.comparison.test_tables import make_results

#: Red, a bell, a new title of the window, letters backwards.
ESCAPES = "\x1b[31m\x07\x1b]0;x\x07\u202e"
HOSTILE = f"</script><img src=x onerror=alert(1)>{ESCAPES}"


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_text_is_no_formula_and_numbers_stay_numbers(begin):
    (row,) = csv.reader(io.StringIO(format_csv_rows([[f"{begin}cmd()", "-1.5", -2.5, "+3e-4", "a", None]]), newline=""))
    assert row[0].startswith("'")
    assert row[1:] == ["-1.5", "-2.5", "+3e-4", "a", ""]


def test_arms_of_a_comparison_are_no_formulas_and_no_markup():
    results = make_results(seeds=2, images=4, names=("labels", "unlabeled"))
    first = replace(results.arms[0], arm=replace(results.arms[0].arm, name="=1+1", title="<img src=x>|\x1b[31m"))
    changed = replace(results, arms=(first, *results.arms[1:]))
    rows = list(csv.reader(io.StringIO(format_csv(changed))))
    assert rows[1][0] == "'=1+1"
    assert float(rows[1][2]) > 0
    text = format_markdown(changed)
    assert "<img" not in text
    assert "&lt;img src=x>\\|\\x1b[31m" in text
    assert not CONTROL.search(text.replace("\n", ""))


def test_pages_spell_out_what_they_are_given(tmp_path):
    (tmp_path / "pages").mkdir()
    write_page(
        tmp_path / "page.html", "semiovs.audit",
        source=Path(HOSTILE), facts=False, numbers={"error": 1, "warning": 0, "note": 0}, listed=1, good=0, streams=[], classes=[],
        masked=[], ignored=[], sizes="<svg></svg>", shares="",
        groups=[{"kind": HOSTILE, "severity": "error", "count": 1, "left": 0,
                 "rows": [{"where": f"x{HOSTILE}", "text": HOSTILE, "fix": HOSTILE}]}],
    )  # fmt: skip
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "<img" not in text
    assert "</script>" not in text
    assert not CONTROL.search(text.replace("\n", "").replace("\t", ""))
    assert "\\x202e" in text
    assert "<svg></svg>" in text


def test_no_page_holds_a_script():
    templates = sorted((Path(progress.__file__).parent).rglob("*.html"))
    assert len(templates) >= 7
    assert [path.name for path in templates if "<script" in path.read_text("utf-8").lower()] == []


def test_figures_show_names_as_they_are():
    figure = Figure()
    figure.add_subplot().set_title(escape_math(f"<script>$x$ {ESCAPES}"))
    text = render_svg(figure)
    assert "<script" not in text
    assert "\\x1b" in text
    assert not CONTROL.search(text.replace("\n", "").replace("\t", ""))


def test_lines_of_python_calls_and_of_training_are_spelled_out(capsys):
    progress.print_line(f"a{ESCAPES}\nb")
    writer = ConsoleWriter(3, Console(file=(out := io.StringIO()), width=200))
    writer.write({"kind": "eval", "step": 1, "model": ESCAPES, "miou": 3.0})
    assert capsys.readouterr().err == f"a{escape_controls(ESCAPES)}\nb\n"
    assert escape_controls(ESCAPES) in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_a_bar_shows_the_name_of_a_film_and_no_markup(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    terminal = Console(file=out, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr("rich.console.Console", lambda **_: terminal)
    with progress.show_progress(f"predicting [blink]x[/] {ESCAPES}") as show:
        show(1, 2)
    assert f"predicting [blink]x[/] {escape_controls(ESCAPES)}" in out.getvalue()
    assert "\x07" not in out.getvalue()
    assert "\x1b]0;" not in out.getvalue()


def test_the_log_of_a_run_can_be_shown(tmp_path):
    record = logging.LogRecord("semiovs", logging.INFO, __file__, 0, f"read {ESCAPES}\nmore", None, None)
    assert _LogFormatter("%(message)s").format(record) == f"read {escape_controls(ESCAPES)}\nmore"
    run = Run.create(tmp_path / "run", "a: 1\n", ["semiovs", "train", f"data.root={ESCAPES}"])
    assert (run.directory / "command.txt").read_text() == f"semiovs train data.root={escape_controls(ESCAPES)}\n"


def test_words_of_the_command_line_and_tracebacks_are_spelled_out(capsys, monkeypatch):
    for words in ([f"no{ESCAPES}"], ["config", "show", f"--{ESCAPES}"], ["vocab", "show", ESCAPES]):
        assert main(words) == 2
    monkeypatch.setenv("SEMIOVS_LOG_LEVEL", "DEBUG")
    monkeypatch.setattr("semiovs.cli.vocab.show", None, raising=False)
    monkeypatch.setattr("semiovs.vocab.vocabulary.Vocabulary.load", _fail)
    main(["vocab", "show", "voc21"])
    said = "".join(capsys.readouterr())
    assert "\\x1b" in said
    assert not CONTROL.search(said.replace("\n", ""))


def _fail(*_: object) -> None:
    raise RuntimeError(ESCAPES)


def test_escaping_twice_changes_nothing():
    assert escape_lines(escape_lines(f"a\tb\n{ESCAPES}")) == f"a\tb\n{escape_controls(ESCAPES)}"
    assert console.escape_lines is escape_lines

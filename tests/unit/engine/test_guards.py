"""Each guard on made-up rows: what it says, when, once, and when it says nothing."""

import logging

import numpy as np
import pytest

from semiovs.config.schema import Config
from semiovs.data.collection import LABELED, OOD, VAL, Collection
from semiovs.engine.before_training import find_untaught_classes
from semiovs.engine.explanations import explain_metrics
from semiovs.engine.guards import Guards, NoteWriter, Watched
from semiovs.engine.run import Run, read_metrics
from semiovs.engine.writers import JsonLinesWriter
from semiovs.images.masks import MaskReader
from semiovs.vocab import Vocabulary

TOTAL = 100


def watched(**values):
    return Watched(**{"total_steps": TOTAL, "model": "ema", "arms": ["labels", "unlabeled"]} | values)


def train(step, *, loss=1.0, ratio=None):
    return {"kind": "train", "step": step, "loss": loss} | ({} if ratio is None else {"log/mask_ratio": ratio})


def score(step, miou=50.0, *, kind="eval", model="ema", unpredicted=None, absent=(), **iou):
    row = {"kind": kind, "step": step, "model": model, "miou": miou, "iou": iou, "absent": list(absent)}
    return row if unpredicted is None else row | {"unpredicted": unpredicted}


def tell(rows, **values):
    """(step, name, text) of all notes."""
    guards = Guards(watched(**values))
    return [(row["step"], note.name, note.text) for row in rows for note in guards.read(row)]


def names(rows, **values):
    return [(step, name) for step, name, _ in tell(rows, **values)]


def test_a_class_that_is_lost_is_told_once_with_where_it_was_and_what_to_do():
    rows = [
        score(20, sky=60.0, car=31.2, unpredicted=[]),
        score(40, sky=60.0, car=0.0, unpredicted=["car"]),
        score(60, sky=60.0, car=0.0, unpredicted=["car"]),
        score(80, sky=60.0, car=0.0, unpredicted=["car"]),
    ]
    ((step, name, text),) = tell(rows)
    assert (step, name) == (60, "class-collapse")
    assert "'car' (IoU 31.2 at step 20) not predicted on any pixel at steps 40 and 60" in text
    assert "method.class_weights=auto, a lower method.conf_thresh for it, or label more images" in text
    ((_, _, text),) = tell(rows, unweighted=False, arms=["labels"])
    assert text.endswith("; label more images that show it")


@pytest.mark.parametrize(
    "rows",
    [
        # once is no collapse
        [score(20, sky=1.0, car=9.0), score(40, sky=1.0, car=0.0), score(60, sky=1.0, car=2.0)],
        # wrong everywhere, but predicted
        [score(20, sky=1.0, car=9.0, unpredicted=[])] + [score(s, sky=1.0, car=0.0, unpredicted=[]) for s in (40, 60)],
        # not in the evaluation masks
        [score(s, sky=1.0, car=0.0, absent=["car"], unpredicted=["car"]) for s in (20, 40, 60)],
        # of another model
        [score(20, sky=1.0, car=9.0)] + [score(s, sky=1.0, car=0.0, model="student") for s in (40, 60)],
        # never there
        [score(s, sky=1.0, car=0.0) for s in (20, 40, 60)],
    ],
)
def test_no_collapse(rows):
    assert names(rows) == []


def test_rows_of_earlier_versions_are_judged_by_their_iou():
    assert names([score(20, sky=1.0, car=9.0), *(score(s, sky=1.0, car=0.0) for s in (40, 60))]) == [
        (60, "class-collapse")
    ]


def test_two_classes_at_once_are_one_line_and_each_is_told_once():
    first = score(10, sky=9.0, car=9.0, bus=9.0, cat=9.0)
    gone = [score(s, sky=9.0, car=0.0, bus=0.0, cat=9.0) for s in (20, 30)]
    later = [score(s, sky=9.0, car=0.0, bus=0.0, cat=0.0) for s in (40, 50)]
    found = tell([first, *gone, *later])
    assert [step for step, *_ in found] == [30, 50]
    assert "'car' (IoU 9.0 at step 10), 'bus'" in found[0][2]
    assert "'cat'" in found[1][2]
    assert "'car'" not in found[1][2]


def test_a_class_that_was_never_predicted_is_told_at_the_end():
    rows = [score(s, sky=9.0, sea=9.0, car=0.0, unpredicted=["car"]) for s in (50, TOTAL)]
    ((step, name, text),) = tell(rows)
    assert (step, name) == (TOTAL, "class-never")
    assert "'car' in the evaluation masks" in text
    assert names(rows, total_steps=200) == []
    # that nothing was learnt at all is another line (`explain_metrics`)
    assert names([score(TOTAL, sky=9.0, sea=0.0, car=0.0)]) == []


def test_drift_needs_two_bad_evaluations_and_a_falling_loss():
    def rows(*points):
        return [row for step, loss, miou in points for row in (train(step, loss=loss), score(step, miou))]

    falls = rows((20, 1.0, 60.0), (40, 0.5, 57.0), (60, 0.4, 56.0), (80, 0.3, 50.0))
    ((step, name, text),) = tell(falls)
    assert (step, name) == (60, "drift")
    assert "was 60.0 at step 20 and is 57.0 and 56.0 at steps 40 and 60, while the loss fell from 1 to 0.633" in text
    assert "semiovs compare CONFIG --arms labels,unlabeled" in text
    assert "compare" not in tell(falls, arms=["labels"])[0][2]
    assert names(rows((20, 1.0, 60.0), (40, 0.5, 57.1), (60, 0.4, 50.0))) == []
    assert names(rows((20, 1.0, 60.0), (40, 1.5, 50.0), (60, 1.4, 50.0))) == []
    assert names([score(20, 60.0), score(40, 50.0), score(60, 50.0)]) == []


def test_drift_on_held_out_labels_names_the_comparison():
    rows = [train(10, loss=1.0)]
    for step, miou in ((20, 60.0), (40, 55.0), (60, 55.0)):
        rows += [train(step, loss=1 / step), score(step, miou, kind="held_out", model="student")]
    ((step, name, text),) = tell(rows)
    assert (step, name) == (60, "held-out-drift")
    assert "mIoU on held-out labels was 60.0" in text
    assert text.endswith("is told by semiovs compare CONFIG --arms labels,unlabeled")


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        (dict.fromkeys(range(5, 101, 5), 0.0), [(35, "few-pseudo-labels")]),  # the first tenth does not count
        (dict.fromkeys(range(5, 101, 5), 0.999), [(35, "all-pseudo-labels")]),
        ({s: 0.0 if s % 20 else 0.3 for s in range(5, 101, 5)}, []),
        (dict.fromkeys(range(5, 101, 5), 0.011), []),
        (dict.fromkeys(range(5, 101, 5), 0.995), []),
        ({50: 0.5, 100: 0.001}, [(100, "few-pseudo-labels")]),  # few lines: those of the last fifth
        ({50: 0.0, 100: 0.5}, []),
        ({50: 0.0, 90: 0.0}, []),
    ],
)
def test_shares_of_pseudo_labels(ratios, said):
    rows = [train(step, ratio=ratio) for step, ratio in ratios.items()]
    assert names(rows) == said


def test_a_method_without_a_threshold_takes_all_and_numbers_that_are_none_say_nothing():
    rows = [train(s, ratio=1.0) for s in range(10, 101, 10)]
    assert names(rows, threshold=False) == []
    assert names([train(s, loss=None, ratio=float("nan")) for s in range(10, 101, 10)]) == []
    assert names([{"kind": "data", "step": 3, "changes": []}, {"kind": "eval", "step": 5, "model": "ema"}]) == []


def test_notes_are_rows_and_lines_of_the_log_and_a_resumed_run_says_the_same(tmp_path, caplog):
    rows = [train(s, ratio=0.0) for s in range(10, 101, 10)]
    rows[5:5] = [score(s, sky=9.0, car=9.0 if s == 10 else 0.0) for s in (10, 30, 50)]

    def write(path, steps, past=()):
        out = JsonLinesWriter(path)
        notes = NoteWriter(Guards(watched()), out, past)
        for row in steps:
            for writer in (out, notes):
                writer.write(row)

    with caplog.at_level(logging.WARNING, logger="semiovs"):
        write(tmp_path / "straight", rows)
    straight = read_metrics(tmp_path / "straight")
    notes = [row for row in straight if row["kind"] == "note"]
    assert [(row["step"], row["note"], row["on"]) for row in notes] == [
        (50, "class-collapse", "eval"),
        (60, "few-pseudo-labels", "train"),
    ]
    assert [record.getMessage() for record in caplog.records] == [f"step {r['step']}: {r['text']}" for r in notes]
    assert all("\n" not in row["text"] for row in notes)
    for cut in range(len(rows)):
        path = tmp_path / f"cut-{cut}"
        write(path, rows[:cut])
        write(path, rows[cut:], read_metrics(path))
        assert read_metrics(path) == straight


def test_a_note_is_cut_with_the_row_that_it_is_on(tmp_path):
    run = Run(tmp_path)
    kinds = [("train", None), ("note", "train"), ("eval", None), ("note", "eval")]
    for kind, on in kinds:
        JsonLinesWriter(run.metrics).write({"kind": kind, "step": 2} | ({"on": on} if on else {}))
    run.cut_metrics(2)
    assert len(read_metrics(run.metrics)) == 4
    run.cut_metrics(2, pending=["eval"])
    assert [(row["kind"], row.get("on")) for row in read_metrics(run.metrics)] == kinds[:2]
    run.cut_metrics(1)
    assert read_metrics(run.metrics) == []


def test_the_explanation_at_the_end_does_not_repeat_a_guard():
    rows = [train(s, ratio=0.0) for s in range(10, 101, 10)]
    assert len(list(explain_metrics(rows))) == 1
    assert list(explain_metrics([*rows, {"kind": "note", "step": 60, "note": "few-pseudo-labels"}])) == []
    assert list(explain_metrics([train(10) | {"log/mask_ratio": None}])) == []


@pytest.mark.parametrize(
    ("config", "labelled", "ood", "told"),
    [
        ({}, (0, 1), None, True),
        ({}, (0, 1, 2), None, False),
        ({"ood": {}}, (0, 1), (2,), False),
        ({"ood": {"mode": "naive"}}, (0, 1), (2,), True),
    ],
)
def test_classes_that_no_label_shows(config, labelled, ood, told):
    def counts(*ids):
        return np.bincount(ids, minlength=256)

    vocabulary = Vocabulary.of(["a", "b", "c", "d"])
    found = {LABELED: counts(*labelled), VAL: counts(0, 2)} | ({} if ood is None else {OOD: counts(*ood)})
    sources = Collection(vocabulary, MaskReader(vocabulary.names))
    notes = list(find_untaught_classes(Config.model_validate(config), sources, found))
    assert len(notes) == told
    for note in notes:
        assert note.name == "class-unlabelled"
        assert "shows 'c', and the evaluation masks do" in note.text

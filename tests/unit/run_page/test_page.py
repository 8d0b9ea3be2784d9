"""The page of a run whose files say anything at all."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from semiovs.config import load_config
from semiovs.errors import UsageError
from semiovs.evaluation import ImageCounts
from semiovs.images.palette import voc_palette
from semiovs.run_page.measurement import shrink
from semiovs.run_page.page import write_run_page
from semiovs.run_page.pictures import draw_errors, make_strip
from semiovs.run_page.run_record import RunRecord

HOSTILE = ('<script>alert("1")</script>', "a & b' onload='x", "$x_1$ \x1b[31m")


class Elements(HTMLParser):
    """Start tags with their attributes, and what is shown."""

    def __init__(self, text):
        super().__init__()
        self.found, self.shown = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.shown.append(data)


def write_run(folder, *, names=("sky", "road", "car"), rows=None, **values):
    folder.mkdir(parents=True)
    keys = [f"data.root={folder}/gone", "train.device=cpu", *(f"{k.replace('__', '.')}={v}" for k, v in values.items())]
    (folder / "config.yaml").write_text(load_config(None, keys).dump(), "utf-8")
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in rows or make_rows(names)), "utf-8")
    return folder


def make_rows(names, *, evaluations=3):
    rows = []
    for step in range(10, 10 * evaluations + 1, 10):
        rows.append({"kind": "train", "step": step, "loss": 1 / step, "term/x": 0.5, "log/mask_ratio": step / 100})
        rows[-1]["wall/seconds"] = 60.0
        iou = {name: 10.0 * k + step for k, name in enumerate(names)}
        miou = sum(iou.values()) / len(iou)
        rows.append({"kind": "eval", "step": step, "model": "student", "best": True, "miou": miou, "iou": iou})
        rows[-1]["miou_present"] = miou
    return rows


def keep_counts(folder, names, ids=("a", "b")):
    classes = len(names)
    entries = [(i, k, (k + i) % classes, 7 + k) for i in range(len(ids)) for k in range(classes)]
    ImageCounts(tuple(ids), classes, np.array(sorted(entries))).write(folder / "scores" / "last-student.npz")


def read(folder):
    text = (folder / "report.html").read_text("utf-8")
    return text, Elements(text)


def test_hostile_names_are_shown_and_not_obeyed(tmp_path):
    folder = write_run(tmp_path / "<img src=x onerror=alert(2)>", names=HOSTILE)
    keep_counts(folder, HOSTILE, ids=('"><svg onload=alert(3)>', "b"))
    (folder / "command.txt").write_text("semiovs train '</code><script>'\n")
    (folder / "env.json").write_text(json.dumps({"python": "<b>3</b>", "gpus": ["<i>"], "packages": {"<u>": "1"}}))
    write_run_page(folder)
    _, page = read(folder)
    tags = {tag for tag, _ in page.found}
    assert not tags & {"script", "img", "i", "u"}
    assert not any(name.startswith("on") for _, attributes in page.found for name in attributes)
    shown = "".join(page.shown)
    assert all(text in shown for text in (HOSTILE[0], HOSTILE[1], "<img src=x onerror=alert(2)>", "</code><script>"))


def test_it_opens_offline(tmp_path):
    folder = write_run(tmp_path / "run")
    keep_counts(folder, ("sky", "road", "car"))
    write_run_page(folder)
    text, page = read(folder)
    links = [a[key] for _, a in page.found for key in ("src", "href", "xlink:href") if key in a]
    others = [link for link in links if not link.startswith(("data:", "#"))]
    assert others == []
    assert "url(" not in re.sub(r"url\(#\w+\)", "", text)
    assert all(a.get("alt") for tag, a in page.found if tag == "img")
    assert all(a.get("aria-label") for _, a in page.found if a.get("role") == "img")


def test_a_run_without_evaluation_has_a_page(tmp_path):
    folder = write_run(tmp_path / "run", rows=[{"kind": "train", "step": 5, "loss": 1.0}])
    found = write_run_page(folder).as_json()
    assert (found["last"], found["best"], found["measured"], found["model"]) == (None, None, None, None)
    shown = "".join(read(folder)[1].shown)
    assert "was not evaluated" in shown
    assert "not finished" in shown
    assert "trained for 5 steps" in " ".join(shown.split())


def test_a_run_that_has_just_begun_has_a_page(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "metrics.jsonl").unlink()
    assert write_run_page(folder).as_json()["step"] == 0


def test_damaged_lines_are_left_out_and_told(tmp_path):
    strange = [{"kind": "eval", "step": 40, "model": "student", "miou": None}, {"kind": "eval", "step": 50, "miou": 3}]
    strange += [{"kind": "eval", "step": 60, "model": "student", "miou": "high"}]
    strange += [{"kind": "train", "step": 60, "loss": "low", "log/mask_ratio": None, "term/x": [1]}]
    strange += [{"kind": "data", "step": 60, "changes": 5}, {"kind": "held_out", "step": 60}]
    folder = write_run(tmp_path / "run", rows=[*make_rows(("a", "b")), *strange])
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind": "train", "st\n\xff\xfe\n[1]\n')
    found = write_run_page(folder)
    assert found.as_json()["last"]["step"] == 30
    assert found.record.damaged == 3
    assert "3 damaged line(s)" in "".join(read(folder)[1].shown)


def test_what_guards_said_is_told(tmp_path):
    folder = write_run(tmp_path / "run")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(
            '{"kind": "note", "step": 4, "note": "drift", "text": "mIoU <falls>"}\n{"kind": "note", "step": 5}\n'
        )
    write_run_page(folder)
    assert "Step 4: mIoU <falls>" in "".join(read(folder)[1].shown)


def test_damaged_counts_are_told(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "scores").mkdir()
    (folder / "scores" / "last-student.npz").write_bytes(b"no")
    assert "cannot be read" in write_run_page(folder).why["scores"]
    keep_counts(folder, ("a", "b"))
    assert "2 classes, the run 3" in write_run_page(folder).why["scores"]


def test_the_time_is_that_of_the_rows(tmp_path):
    rows = make_rows(("a",))
    rows[1]["wall/seconds"] = 20.0  # within the second row of training
    rows[-1]["wall/seconds"] = 30.0
    record = RunRecord.read(write_run(tmp_path / "run", rows=rows))
    assert record.seconds == 3 * 60 + 30


def test_many_classes_make_a_list_of_confusions(tmp_path):
    names = tuple(f"class {k}" for k in range(150))
    folder = write_run(tmp_path / "run", names=names)
    keep_counts(folder, names)
    write_run_page(folder)
    text, _ = read(folder)
    assert '<table class="matrix">' not in text
    assert "The pairs with the most wrong pixels" in text
    assert "The 40 classes with the most pixels" in text
    few = write_run(tmp_path / "few")
    keep_counts(few, ("sky", "road", "car"))
    write_run_page(few)
    assert '<table class="matrix">' in read(few)[0]


def test_a_page_stays_small_whatever_is_in_the_images(tmp_path):
    """Ten strips, twelve OOD images and long curves stay below 20 MB."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (3000, 3000, 3), np.uint8))
    labels = rng.integers(0, 171, (2, 3000, 3000)).astype(np.uint8)
    strip = make_strip("noise", shrink(noise, *labels), 1.0, voc_palette())
    assert 22 * sum(len(cell["src"]) for cell in strip["cells"]) < 15e6
    names = tuple(f"class {k}" for k in range(171))
    rows = [{"kind": "train", "step": s, **{f"term/{k}": rng.random() for k in range(9)}} for s in range(1, 20_000, 5)]
    folder = write_run(
        tmp_path / "run", rows=sorted([*rows, *make_rows(names, evaluations=20)], key=lambda r: r["step"])
    )
    keep_counts(folder, names, ids=[f"i{i}" for i in range(1449)])
    write_run_page(folder)
    assert (folder / "report.html").stat().st_size < 3e6


def test_errors_are_drawn_where_something_is_known():
    truth, predicted = np.array([[0, 1, 255, 1]], np.uint8), np.array([[0, 0, 0, 255]], np.uint8)
    assert draw_errors(truth, predicted)[0].tolist() == [[228, 230, 234], [213, 94, 0], [255] * 3, [255] * 3]


def test_no_run_is_told(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        write_run_page(tmp_path / "nothing")


def make_share_rows(names, count=8):
    """Log lines whose pseudo-labels lose the first class, and agree more and more with the teacher."""
    rows = []
    for step in range(1, count + 1):
        fading = max(0.0, 0.5 - step / 10)
        rest = [(1 - fading) * 2 * (k + 1) / (len(names) * (len(names) - 1)) for k in range(len(names) - 1)]
        shares = {name: share for name, share in zip(names, [fading, *rest], strict=True) if share}
        rows.append({"kind": "train", "step": 10 * step, "loss": 1 / step, "pseudo": shares, "ood_pseudo": shares})
        rows[-1]["ood_agreement"] = step / 10
    return rows


def test_shares_of_the_classes_and_the_agreement_with_the_teacher_are_drawn(tmp_path):
    names = [f"thing {k}" for k in range(20)]
    rows = make_share_rows(names) + make_rows(names)[1:]
    write_run_page(write_run(tmp_path / "run", names=names, rows=rows))
    text, _ = read(tmp_path / "run")
    assert text.count("Shares of the classes in the labels of") == 2
    assert "share of the labelled OOD pixels where the student says the same" in text
    assert "others" in text  # 20 classes: 12 by name
    write_run_page(write_run(tmp_path / "plain"))
    assert "Shares of the classes" not in read(tmp_path / "plain")[0]


def test_strange_shares_are_no_reason_to_have_no_page(tmp_path):
    strange = [
        {"kind": "train", "step": s, "loss": 1.0, "pseudo": p} for s, p in ((70, {"sky": "x"}), (80, 3), (90, {}))
    ]
    write_run_page(write_run(tmp_path / "run", rows=[*make_rows(("sky", "road", "car")), *strange]))
    assert "</html>" in read(tmp_path / "run")[0]

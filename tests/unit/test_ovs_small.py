"""The teacher `small`: the weights that are shipped, and that it answers to words rather than to positions in a list."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from semiovs.cli.app import main
from semiovs.demo.named_world import GROUND, HELD_OUT, VOCABULARY, render_held_out_scene
from semiovs.demo.synthetic import OOD, render_scene, save_png
from semiovs.demo.synthetic import VOCABULARY as DEMO
from semiovs.errors import DataError
from semiovs.evaluation import ConfusionMatrix
from semiovs.files import sha256_of
from semiovs.images.manifest import Manifest
from semiovs.ovs import build_ovs
from semiovs.ovs.precision_agreement import measure_agreement
from semiovs.ovs.small import find_shipped_teacher
from semiovs.store import PseudoLabelStore
from semiovs.vocab.document import to_yaml
from semiovs.vocab.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def teacher():
    return build_ovs("small", device="cpu")


def _right(teacher, scenes, vocabulary):
    """Percent of the objects' pixels that get the right name."""
    images = [torch.from_numpy(scene.image).permute(2, 0, 1).contiguous() for scene in scenes]
    labels, _ = teacher.label(images, vocabulary)
    truth = np.stack([scene.mask for scene in scenes])
    return 100 * float((torch.stack(labels).numpy() == truth)[truth > 0].mean())


def test_record_of_the_weights(teacher):
    record = json.loads(find_shipped_teacher().with_suffix(".json").read_text())
    assert record["sha256"] == sha256_of(find_shipped_teacher()) == teacher.describe()["weights"]
    assert record["names"] == len(VOCABULARY)
    assert find_shipped_teacher().stat().st_size < 5 * 2**20


def test_scores_of_the_record_are_those_of_the_weights(teacher):
    """On the first 40 of the record's 300 scenes, within what 40 scenes can say."""
    record = json.loads(find_shipped_teacher().with_suffix(".json").read_text())["scores"]
    matrix = ConfusionMatrix(len(DEMO))
    for index in range(40):
        scene = render_scene(OOD, 64, np.random.default_rng([20_000, index]))
        label, _ = teacher.label([torch.from_numpy(scene.image).permute(2, 0, 1).contiguous()], DEMO)
        matrix.update(label[0], torch.from_numpy(scene.mask))
    assert matrix.miou() == pytest.approx(record["ood_miou"], abs=10)


def test_it_reads_words(teacher):
    """Colour and texture that were never seen together are found by their name, and not by another one."""
    scenes = [render_held_out_scene(20_000, index) for index in range(40)]
    vocabulary = Vocabulary.of([GROUND, *(f"{hue} {texture}" for hue, texture in HELD_OUT)])
    first, *others = vocabulary.concepts
    shuffled = replace(vocabulary, concepts=(first, *others[5:], *others[:5]))
    right, wrong = _right(teacher, scenes, vocabulary), _right(teacher, scenes, shuffled)
    assert right > 40
    assert wrong < 10


def test_it_answers_the_same_in_any_order_and_company(teacher):
    image = torch.from_numpy(render_scene(OOD, 64, np.random.default_rng(5)).image).permute(2, 0, 1).contiguous()
    other = torch.zeros(3, 48, 80, dtype=torch.uint8)
    alone = teacher.scores([image], DEMO)[0]
    torch.testing.assert_close(teacher.scores([other, image], DEMO)[1], alone, rtol=0, atol=1e-4)


def _world(tmp_path, count=3):
    (tmp_path / "web").mkdir()
    for index in range(count):
        save_png(tmp_path / "web" / f"{index}.png", render_scene(OOD, 64, np.random.default_rng([7, index])).image)
    (tmp_path / "classes.yaml").write_text(to_yaml(DEMO))


def test_what_shortcuts_change_is_measured_and_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _world(tmp_path)
    common = ["label", "--teacher", "small", "--images", "web", "--classes", "classes.yaml"]
    assert main([*common, "--out", "fast", "--set", "precision=bf16", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)["agreement"]
    assert (found["images"], found["pixels"]) == (3, 3 * 64 * 64)
    assert 90 < found["percent"] <= 100
    assert f"{found['percent']:.2f} % of the pixels of 3 images" in err

    assert main([*common, "--out", "exact", "--json"]) == 0
    assert "agreement" not in json.loads(capsys.readouterr().out)
    same = total = 0
    for index in range(3):
        pair = [PseudoLabelStore.open(name).label(str(index)) for name in ("fast", "exact")]
        same, total = same + int((pair[0] == pair[1]).sum()), total + pair[0].size
    assert (same, total) == (found["same"], found["pixels"])


def test_early_rejection_counts_as_a_shortcut(tmp_path):
    _world(tmp_path, 2)
    records = list(Manifest.from_folder(tmp_path / "web"))
    teacher = build_ovs("sed", weights=find_shipped_teacher(), topk=1, device="cpu", flip=True)
    exact = teacher.exact()
    assert exact is not None
    assert exact.describe()["topk"] is None
    assert exact.describe()["flip"] is True
    assert exact.exact() is None
    found = measure_agreement(teacher, exact, records, DEMO)
    assert found is not None
    assert 30 < found.percent < 100
    assert measure_agreement(teacher, exact, [], DEMO) is None


def test_an_answer_that_is_no_number_is_said(teacher, monkeypatch):
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    monkeypatch.setattr(teacher, "maps", lambda *_: [torch.full((len(DEMO.prompts), 16, 16), float("nan"))])
    with pytest.raises(DataError, match="NaN"):
        teacher.label([image], DEMO)

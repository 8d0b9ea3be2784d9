"""The shell: quick help, lazy verbs, exit codes, one line for every mistake, and the small verbs."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from semiovs import errors
from semiovs.cli import app
from semiovs.cli.app import BROKEN_PIPE, VERBS, Verb, main
from semiovs.config import load_config
from semiovs.files import atomic_write
from semiovs.images.manifest import Manifest

#: Libraries that take long to import; `CONFIG` reads configurations, which needs some of them.
IMAGES = {"torch", "timm", "torchvision", "cv2", "numpy", "PIL", "matplotlib", "open_clip"}
CONFIG = {"pydantic", "yaml"}


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], IMAGES | CONFIG),
        (["--version"], IMAGES | {"yaml"}),
        (["trian"], IMAGES | {"yaml"}),
        (["config", "show", "pascal/92"], IMAGES),
        (["config", "schema"], IMAGES),
        (["list", "presets"], IMAGES),
        (["list", "methods", "--json"], IMAGES),
    ],
)
def test_nothing_heavy_is_imported(arguments, heavy):
    done = python(
        f"import sys; from semiovs.cli import run; run(sys.argv[1:]); print('HEAVY', sorted({heavy} & "
        f"set(sys.modules)))",
        *arguments,
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stderr


def test_heavy_libraries_are_those_that_are_installed():
    """A name that no library has would never be found among the imported ones."""
    assert [name for name in IMAGES | CONFIG if find_spec(name) is None] == []


def test_help_is_quick(record_property):
    def once() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "semiovs", "--help"], capture_output=True, check=True)
        return time.perf_counter() - start

    median = statistics.median(once() for _ in range(5))
    record_property("help_seconds", median)
    print(f"semiovs --help: median {median:.3f} s")
    assert median < 2.0


def test_help_lists_every_verb_and_exit_code(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for verb, row in VERBS.items():
        assert f"  {verb} " in text
        assert row.help[:30] in text
    for code in ("2 usage", "3 data", "4 weights", "5 diverged", "75 preempted", "130 interrupted", "143 ended"):
        assert code in text.replace("\n ", "")


def test_a_shell_is_given_a_script_that_completes(monkeypatch, capsys):
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    with pytest.raises(SystemExit) as done:
        main(["--show-completion"])
    assert done.value.code == 0
    assert "_SEMIOVS_COMPLETE=complete_bash" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tra", ["train"]),
        ("config sh", ["show"]),
        ("config show --or", ["--origins"]),
        ("nosuch --vers", ["--version"]),
    ],
)
def test_words_that_a_shell_completes(typed, offered, monkeypatch, capsys):
    words = f"semiovs {typed}"
    monkeypatch.setenv("_SEMIOVS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit) as done:
        main([])
    assert done.value.code == 0
    assert capsys.readouterr().out.split() == offered


def test_a_shell_without_completion_is_a_mistake_of_usage(monkeypatch, capsys):
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("tcsh", "/bin/tcsh"))
    assert main(["--show-completion"]) == 2
    assert "tcsh not supported" in capsys.readouterr().err


def test_no_verb_shows_the_help(capsys):
    assert main([]) == 0
    assert "Commands:" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["doctor", "list", "config", "init"])
def test_a_verb_has_help(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: semiovs {verb} ")


@pytest.fixture
def verb(monkeypatch):
    """A verb ``probe`` that does what the test says."""

    def install(action) -> None:
        def probe() -> None:
            """Probe."""
            action()

        monkeypatch.setattr(sys.modules[__name__], "PROBE", probe, raising=False)
        monkeypatch.setattr(app, "VERBS", {**VERBS, "probe": Verb(f"{__name__}:PROBE", "Probe.")})
        monkeypatch.setattr(app, "import_module", lambda name: sys.modules[name])

    return install


def raising(error: BaseException):
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("what"), 2),
        (errors.ConfigError("what"), 2),
        (errors.DataError("what"), 3),
        (errors.WeightsError("what"), 4),
        (errors.MissingExtraError("what"), 4),
        (errors.DivergedError("what"), 5),
        (errors.PreemptedError("what"), 75),
        (errors.InterruptedRunError("what"), 130),
    ],
)
def test_each_of_our_errors_has_its_exit_code(error, code, verb, capsys):
    verb(raising(error))
    assert main(["probe"]) == code
    assert capsys.readouterr() == ("", "error: what\n")


def test_a_bug_is_one_line(verb, capsys, monkeypatch):
    verb(raising(ValueError("odd")))
    assert main(["probe"]) == 1
    hint = "; run with SEMIOVS_LOG_LEVEL=DEBUG for the traceback"
    assert capsys.readouterr().err == f"internal error: ValueError: odd{hint}\n"
    monkeypatch.setenv("SEMIOVS_LOG_LEVEL", "debug")
    assert main(["probe"]) == 1
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert text.endswith("internal error: ValueError: odd\n")


def test_the_system_refuses(verb, capsys):
    verb(raising(OSError(errno.ENOSPC, "No space left on device", "/there")))
    assert main(["probe"]) == 3
    assert capsys.readouterr().err == "error: No space left on device: /there\n"


def test_ctrl_c(verb, capsys):
    verb(raising(KeyboardInterrupt()))
    assert main(["probe"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_sigterm_ends_a_verb_at_once_and_leaves_nothing_half_written(verb, capsys, tmp_path):
    before = signal.getsignal(signal.SIGTERM)

    def write():
        with atomic_write(tmp_path / "a.txt"):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    verb(write)
    assert main(["probe"]) == 143
    assert capsys.readouterr().err == "stopped by SIGTERM\n"
    assert not [*tmp_path.iterdir()]
    assert signal.getsignal(signal.SIGTERM) is before


def test_success_and_warnings(verb, capsys):
    def action() -> None:
        warnings.simplefilter("always")
        warnings.warn("look", errors.SemiovsWarning, stacklevel=1)

    verb(action)
    assert main(["probe"]) == 0
    assert capsys.readouterr() == ("", "warning: look\n")


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["trian"], "error: no verb 'trian' (did you mean 'train'?); see semiovs --help"),
        (["--nonsense"], "error: No such option: --nonsense"),
        (["list"], "error: Missing argument"),
        (["list", "modles"], "error: Invalid value for "),
        (["config"], "error: Missing command."),
        (["config", "show", "--jsn"], "error: No such option: --jsn"),
        (["config", "show", "pascal/29"], "error: config: no preset or file 'pascal/29' (did you mean 'pascal/92'?)"),
        (
            ["config", "validate", "pascal/29"],
            "error: config: no preset or file 'pascal/29' (did you mean 'pascal/92'?)",
        ),
    ],
)
def test_usage_mistakes_exit_with_2(arguments, first, capsys):
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(first)
    assert len(lines) <= 2
    assert "Value error" not in lines[0]


def test_a_wrong_log_level_is_a_usage_mistake(monkeypatch, capsys):
    monkeypatch.setenv("SEMIOVS_LOG_LEVEL", "LOUD")
    assert main(["--version"]) == 2
    assert capsys.readouterr().err.startswith("error: SEMIOVS_LOG_LEVEL 'LOUD' is not a level")


def test_a_reader_that_goes_away_is_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "semiovs", "list", "presets"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, b"")


def test_the_installed_command_has_the_exit_code():
    done = python("import sys; sys.argv = ['semiovs', 'trian']; from semiovs.__main__ import main; main()")
    assert done.returncode == 2


@pytest.mark.parametrize("kind", ["methods", "segmenters", "teachers", "datasets", "vocabularies", "presets"])
def test_list_is_json_with_names(kind, capsys):
    assert main(["list", kind, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert all(row["name"] for row in rows)
    if kind == "methods":
        assert {"unimatch", "fixmatch"} <= {row["name"] for row in rows}
        assert all(row["segmenter"] and isinstance(row["options"], dict) for row in rows)
    assert main(["list", kind]) == 0
    assert all(row["name"] in capsys.readouterr().out for row in rows[:1])


def test_list_encoders(capsys):
    assert main(["list", "encoders", "--json"]) == 0
    assert {"tiny", "xception65", "resnet101s"} <= {row["name"] for row in json.loads(capsys.readouterr().out)}


def test_config_show(capsys):
    assert main(["config", "show", "pascal/92", "train.seed=3", "--origins"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert "  seed: 3" in next(row for row in rows if "command line" in row)
    assert main(["config", "show", "train.seed=3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["train"]["seed"] == 3
    assert main(["config", "show", "--json", "--origins"]) == 0
    assert json.loads(capsys.readouterr().out)["origins"]["train.seed"] == "default"


def test_config_diff(capsys):
    assert main(["config", "diff", "pascal/92", "pascal/183", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["key"] for row in rows] == ["data.labeled", "data.unlabeled", "run.name"]
    assert rows[0]["left_origin"] == "preset pascal/92"
    assert main(["config", "diff", "quick", "quick"]) == 0
    assert capsys.readouterr().out == "no difference\n"


def test_config_validate(tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("trian: 3\n")
    assert main(["config", "validate", "quick", str(tmp_path / "bad.yaml"), "--json"]) == 2
    captured = capsys.readouterr()
    assert [row["ok"] for row in json.loads(captured.out)] == [True, False]
    assert "trian: unknown key (did you mean 'train'?)" in captured.err


def test_config_schema_describes_what_loads(capsys):
    assert main(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"extends", "data", "train"} <= set(schema["properties"])
    assert {"supervised", "unimatch"} <= set(schema["properties"]["method"]["anyOf"][1]["enum"])
    assert schema["$defs"]["TrainConfig"]["additionalProperties"] is False


def test_doctor(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path / "cache"))
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"torch", "timm", "jpeg decoder", "cache", "cores"} <= {row["name"] for row in found["findings"]}
    assert found["next"][0].startswith("semiovs ")
    assert list((tmp_path / "cache").iterdir()) == []


def test_doctor_says_what_is_broken(capsys, monkeypatch):
    from semiovs.cli import doctor

    def broken():
        raise RuntimeError("gone")
        yield

    monkeypatch.setattr(doctor, "CHECKS", (broken,))
    assert main(["doctor"]) == 4
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: pip install")


def picture(path, values, mode="L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(values, np.uint8)
    Image.fromarray(np.broadcast_to(array, (4, *array.shape)).copy(), mode).save(path)


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / f"mine/images/{name}.jpg", [0, 9, 30])
        picture(tmp_path / f"mine/masks/{name}.png", [0, 2, 255])
    picture(tmp_path / "mine/unlabeled/c.jpg", [0, 9, 30])
    return tmp_path / "mine"


def test_init_writes_a_file_that_loads(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    picture(folder / "unlabeled/d.jpg", [9, 0, 30])
    assert main(["init", "mine"]) == 0
    assert "semiovs train mine/semiovs.yaml" in capsys.readouterr().out
    config = load_config("mine/semiovs.yaml").config
    assert config.data.root == str(folder)
    assert config.data.classes == ["class_0", "class_1", "class_2"]
    assert config.method.name == "unimatch"
    assert config.train.batch_size == 2
    assert config.ood is None
    assert config.run.name == "mine"


@pytest.mark.parametrize(
    ("shape", "kind", "bands", "commented"),
    [
        ((8, 8, 4), "uint16", [1, 2, 3, 4], "# rgb: [1, 2, 3]"),
        ((8, 8), "uint16", [1], ""),
        ((8, 8, 2), "float32", [1, 2], "# range: [lo, hi]   # NEEDED"),
        ((8, 8, 3), "uint8", None, ""),
        ((8, 8, 3), "uint16", [1, 2, 3], "# rgb: [1, 2, 3]"),
        ((8, 8, 4), "uint8", None, "# bands: [1, 2, 3, 4]"),
    ],
)
def test_init_proposes_bands_for_what_is_more_than_rgb(tmp_path, capsys, shape, kind, bands, commented):
    tifffile = pytest.importorskip("tifffile")
    picture(tmp_path / "masks/a.png", [0, 1])
    (tmp_path / "images").mkdir()
    photometric = "rgb" if shape[2:] in ((3,), (4,)) and kind == "uint8" else "minisblack"
    planes = {} if len(shape) == 2 else {"planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "images/a.tif", np.zeros(shape, kind), photometric=photometric, **planes)
    assert main(["init", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    config = load_config(told["file"]).config.data
    assert config.bands == (None if bands is None else tuple(bands))
    assert commented in (tmp_path / "semiovs.yaml").read_text()
    assert ("data normalize" in told["next"][0]) is (bands is not None)


def test_init_looks_at_the_first_image_of_a_list(tmp_path, capsys):
    (tmp_path / "deep").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep/a.png")
    picture(tmp_path / "deep/m.png", [0, 1])
    (tmp_path / "train.txt").write_text(f"{tmp_path}/deep/a.png {tmp_path}/deep/m.png\n")
    assert main(["init", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bands"] == {
        "channels": 1, "kind": "uint16", "image": "a.png", "needed": True,
    }  # fmt: skip


def test_init_never_overwrites(folder, capsys):
    (folder / "semiovs.yaml").write_text("precious")
    assert main(["init", str(folder)]) == 2
    assert "--force" in capsys.readouterr().err
    assert (folder / "semiovs.yaml").read_text() == "precious"
    assert main(["init", str(folder), "--force"]) == 0
    out = folder.parent / "deep/er/my.yaml"
    assert main(["init", str(folder), "--out", str(out), "--classes", "sky, road,car"]) == 0
    config = load_config(str(out)).config
    assert (config.data.root, config.data.classes) == (str(folder), ["sky", "road", "car"])


@pytest.mark.parametrize(
    ("memory", "sizes"),
    [
        (None, {"data.crop_size": 96, "train.batch_size": 4, "train.steps": 900, "train.eval_every": 225}),
        (6 * 2**30, {"data.crop_size": 96, "train.batch_size": 5, "train.steps": 1000}),
        (24 * 2**30, {"data.crop_size": 98, "model.dilations": None, "train.batch_size": 5, "train.steps": 1000}),
    ],
)
def test_init_chooses_sizes_for_the_images_and_the_machine(tmp_path, monkeypatch, capsys, memory, sizes):
    sizes = {key: value for key, value in {"model.dilations": [1, 3, 5], **sizes}.items() if value is not None}
    monkeypatch.setattr("semiovs.images.discover.starter_file.find_gpu_memory", lambda: memory)
    for name in "abcde":
        for path in (tmp_path / f"images/{name}.jpg", tmp_path / f"masks/{name}.png"):
            path.parent.mkdir(exist_ok=True)
            Image.new("L", (140, 100)).save(path)
    assert main(["init", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sizes"] == sizes
    values = load_config(told["file"]).values()
    assert {key: values[key] for key in sizes} == sizes
    line = f"  crop_size: {sizes['data.crop_size']}   # pixels; the short side of the images is usually 100; no crop need be larger\n"
    assert line in (tmp_path / "semiovs.yaml").read_text()


def test_init_takes_names_and_lists_that_are_there(folder, capsys):
    (folder / "classes.txt").write_text("sky\nroad\ncar\n")
    for split in ("1_8", "1_4"):
        (folder / "splits" / split).mkdir(parents=True)
        (folder / "splits" / split / "labeled.txt").write_text("images/a.jpg masks/a.png\n")
    (folder / "splits/val.txt").write_text("images/b.jpg masks/b.png\n")
    picture(folder / "ood/x.jpg", [1, 2])
    assert main(["init", str(folder)]) == 0
    assert f"semiovs label {folder}/semiovs.yaml ood=ood --teacher" in capsys.readouterr().out
    assert load_config(str(folder / "semiovs.yaml")).config.ood is None
    (folder / "ood-labels").mkdir()
    assert main(["init", str(folder), "--force", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["found"]["images in ood/"] == 1
    config = load_config(told["file"]).config
    assert config.data.classes == "classes.txt"
    assert (config.data.labeled, config.data.val) == ("splits/1_4/labeled.txt", "splits/val.txt")
    assert config.ood is not None
    assert config.ood.labels == "ood-labels"


def test_init_reads_binary_masks(folder):
    for mask in (folder / "masks").iterdir():
        picture(mask, [0, 255])
    assert main(["init", str(folder)]) == 0
    data = load_config(str(folder / "semiovs.yaml")).config.data
    assert data.classes == ["background", "foreground"]
    assert data.masks.map == {"0": "background", "255": "foreground"}
    assert main(["init", str(folder), "--force", "--classes", "no,yes"]) == 0
    assert load_config(str(folder / "semiovs.yaml")).config.data.masks.map == {"0": "no", "255": "yes"}


def test_init_reads_colours_and_far_apart_values(folder):
    for mask in (folder / "masks").iterdir():
        picture(mask, [[0, 0, 0], [200, 0, 0], [200, 0, 0], [200, 0, 0], [0, 90, 0]], "RGB")
    assert main(["init", str(folder)]) == 0
    data = load_config(str(folder / "semiovs.yaml")).config.data
    assert data.masks.map is not None
    assert data.masks.map == {"200,0,0": "class_1", "0,90,0": "class_2"}  # black is asked about
    assert data.masks.encoding == "rgb"
    assert data.classes == ["class_1", "class_2"]
    for mask in (folder / "masks").iterdir():
        picture(mask, [0, 100, 200])
    assert main(["init", str(folder), "--force"]) == 0
    again = load_config(str(folder / "semiovs.yaml")).config.data
    assert set(again.masks.map or {}) == {"0", "100", "200"}


def test_init_of_bare_images_says_what_is_missing(tmp_path, capsys):
    picture(tmp_path / "x.jpg", [1, 2])
    assert main(["init", str(tmp_path)]) == 0
    assert "put images into" in capsys.readouterr().out
    assert load_config(str(tmp_path / "semiovs.yaml")).config.data.unlabeled == "."


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_init_without_images(name, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["init", str(tmp_path / name)]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / name / "semiovs.yaml").exists()


def test_init_takes_masks_of_other_names(folder, capsys):
    (folder / "masks").rename(folder / "labels")
    (folder / "labels/b.png").rename(folder / "labels/b_mask.png")
    picture(folder / "images/bare.jpg", [1, 2, 3])
    assert main(["init", str(folder), "--classes", "a,,b"]) == 2
    (folder / "unlabeled/c.jpg").unlink()
    (folder / "unlabeled").rmdir()
    assert main(["init", str(folder), "--classes", "a,b"]) == 0
    said = capsys.readouterr().err
    assert "2 images of images/ have masks in labels/" in said
    assert "1 images of images/ have no mask" in said
    data = load_config(str(folder / "semiovs.yaml")).config.data
    assert (data.labeled, data.unlabeled, data.val) == ("lists/labeled.jsonl", "lists/unlabeled.jsonl", None)
    assert [(r.image.name, r.mask.name) for r in Manifest.read(folder / data.labeled, folder)] == [
        ("a.jpg", "a.png"),
        ("b.jpg", "b_mask.png"),
    ]
    assert [r.image.name for r in Manifest.read(folder / data.unlabeled, folder)] == ["bare.jpg"]


def test_init_takes_folders_and_lists_whose_names_tell_their_role(folder, capsys):
    for part in ("train", "val"):
        picture(folder / f"images/{part}/{part}.jpg", [0, 9, 30])
        picture(folder / f"masks/{part}/{part}.png", [0, 1])
    assert main(["init", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lists"] == ["lists/labeled.jsonl", "lists/val.jsonl"]
    data = load_config(str(folder / "semiovs.yaml")).config.data
    assert [r.image.name for r in Manifest.read(folder / data.labeled, folder)] == ["train.jpg"]
    assert [r.image.name for r in Manifest.read(folder / data.val, folder)] == ["val.jpg"]
    for name, line in (
        ("set1_train", "images/a.jpg masks/a.png"),
        ("all_images", "images/a.jpg"),
        ("set1_test", "images/b.jpg masks/b.png"),
        ("notes_train", "see the readme"),
    ):
        (folder / f"{name}.txt").write_text(line + "\n")
    shutil.rmtree(folder / "lists")
    shutil.rmtree(folder / "unlabeled")
    assert main(["init", str(folder), "--force"]) == 0
    data = load_config(str(folder / "semiovs.yaml")).config.data
    assert (data.labeled, data.val) == ("set1_train.txt", "set1_test.txt")
    assert {r.image.name for r in Manifest.read(folder / data.unlabeled, folder)} == {"train.jpg", "val.jpg"}


@pytest.mark.parametrize(
    "places", [("images", "masks", "."), ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")]
)
def test_init_takes_lists_of_ids(folder, places, capsys):
    images, masks, lists = places
    (folder / "images").rename(folder / images)
    (folder / "masks").rename(folder / masks)
    shutil.rmtree(folder / "unlabeled")
    (folder / lists).mkdir(parents=True, exist_ok=True)
    (folder / lists / "train.txt").write_text("a\r\n")
    (folder / lists / "val.txt").write_text("b.jpg\r\n")
    assert main(["init", str(folder)]) == 0
    data = load_config(str(folder / "semiovs.yaml")).config.data
    assert [(r.image.name, r.mask.name) for r in Manifest.read(folder / data.labeled, folder)] == [("a.jpg", "a.png")]
    assert [(r.image.name, r.mask.name) for r in Manifest.read(folder / data.val, folder)] == [("b.jpg", "b.png")]
    assert "train.txt names 1 images by their ids" in capsys.readouterr().err
    (folder / lists / "train.txt").write_text("a\nmissing\n")  # not these images: left aside, and said
    assert main(["init", str(folder), "--force"]) == 0
    assert "train.txt names" not in capsys.readouterr().err


def test_init_puts_classes_with_gaps_in_order(folder, capsys):
    (folder / "classes.yaml").write_text("classes: {0: unlabeled, 2: car, 7: sky}\n")
    assert main(["init", str(folder)]) == 0
    assert "with gaps" in capsys.readouterr().err
    data = load_config(str(folder / "semiovs.yaml")).config.data
    assert data.classes == ["car", "sky"]
    assert data.masks.map == {"0": "ignore", "2": "car", "7": "sky"}
    (folder / "classes.yaml").write_text("classes: {0: road, 1: car, 2: sky}\n")
    assert main(["init", str(folder), "--force"]) == 0
    assert load_config(str(folder / "semiovs.yaml")).config.data.classes == "classes.yaml"


def test_init_does_not_import_torch(folder):
    done = python(
        "import sys; from semiovs.cli import run; run(['init', sys.argv[1]]); print('HEAVY', {'torch', 'cv2'} & "
        "set(sys.modules))",
        str(folder),
    )
    assert done.stdout.splitlines()[-1] == "HEAVY set()", done.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs sh")
@pytest.mark.parametrize(
    ("closed", "code", "told"),
    [(">&-", 3, "error: stdout is closed, and there is something to print\n"), ("2>&-", 0, ""), ("<&-", 0, "")],
)
def test_standard_files_that_the_shell_closed(tmp_path, closed, code, told):
    line = f"{sys.executable} -m semiovs list methods {closed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, told)
    assert ("unimatch" in done.stdout) == (code == 0)

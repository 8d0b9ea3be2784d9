"""``semiovs export``: each format answers as the model does at any size, tells what it is, and is refused if it does
not.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cli.documented import blocks
from e2e.toy_export import CLASSES, draw, write_run
from semiovs.cli.app import main
from semiovs.export import export as steps
from semiovs.export.artefact import OnnxArtefact
from semiovs.export.parity import Model, find_disagreement
from semiovs.export.samples import Sample
from semiovs.inference import Predictor
from semiovs.models import build_segmenter
from semiovs.models.exported import open_runtime
from semiovs.models.exported.runtime import CONFIDENCE, LABELS
from semiovs.models.weights import ModelCard, save_model

pytest.importorskip("onnx", reason="extra 'export': onnx is not installed")
pytest.importorskip("onnxscript", reason="extra 'export': onnxscript is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="extra 'export': onnxruntime is not installed")
pytest.importorskip("openvino", reason="extra 'export': openvino is not installed")

ROOT = Path(__file__).resolve().parents[2]
FILES = {"onnx": "model.onnx", "openvino": "model.xml", "torch": "model.pt2"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module", autouse=True)
def converted_once() -> Iterator[None]:
    """The same graph is traced and converted once, which is most of an export; each export gets a copy."""
    patch, programs, artefacts = pytest.MonkeyPatch(), dict[Any, Any](), dict[Any, OnnxArtefact]()
    trace, convert = steps.trace, steps.to_onnx

    def trace_once(graph: torch.nn.Module, example: torch.Tensor, **options: Any) -> Any:
        weights = tuple(hash(each.numpy().tobytes()) for each in graph.state_dict().values())
        rule = getattr(graph, "multiple", None), getattr(graph, "kind", None)
        key = (repr(graph), weights, rule, example.shape, example.dtype, *options.items())
        if key not in programs:
            programs[key] = trace(graph, example, **options)
        return programs[key]

    def convert_once(program: Any, **options: Any) -> OnnxArtefact:
        key = (id(program), *options.items())
        if key not in artefacts:
            artefacts[key] = convert(program, **options)
        return copy.deepcopy(artefacts[key])

    patch.setattr(steps, "trace", trace_once)
    patch.setattr(steps, "to_onnx", convert_once)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def exported(run: Path) -> dict[str, Path]:
    """The run in each format."""
    for to in FILES:
        assert main(["export", str(run), "--to", to]) == 0
    return {to: run / "export" / name for to, name in FILES.items()}


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    return next(line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))


@pytest.mark.parametrize("to", FILES)
def test_a_file_answers_as_the_run_at_any_size_and_batch(run: Path, exported: dict[str, Path], to: str) -> None:
    runtime, predictor = open_runtime(exported[to]), Predictor.load(run)
    for size, batch in (((72, 88), 1), ((101, 67), 2), ((48, 130), 3)):
        images = np.stack([draw(seed, size)[0] for seed in range(20, 20 + batch)])
        labels, confidence = runtime.answer(images, ["labels", "confidence"])
        assert (labels.dtype, labels.shape) == (np.uint8, (batch, *size))
        assert (confidence.dtype, confidence.shape) == (np.float32, (batch, *size))
        for image, label, sure in zip(images, labels, confidence, strict=True):
            wanted = predictor(image)
            assert len(np.unique(wanted.labels)) == 3
            assert (label == wanted.labels).mean() >= 0.999
            np.testing.assert_allclose(sure, wanted.confidence, atol=1e-4)


@pytest.mark.parametrize("to", FILES)
def test_a_file_is_whole_until_a_byte_is_changed(
    exported: dict[str, Path], to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its checksums (of OpenVINO the weights' file too); what is written by an export loads."""
    assert main(["verify", str(exported[to])]) == 0
    for path in exported[to].parent.glob(f"{exported[to].stem}.*"):
        shutil.copy(path, tmp_path)
    file = tmp_path / ("model.bin" if to == "openvino" else FILES[to])
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    capsys.readouterr()
    assert main(["verify", str(tmp_path / FILES[to])]) == 3
    assert f"{file}: its SHA-256 is not that of {FILES[to]}.sha256" in capsys.readouterr().err


def test_every_format_tells_the_same_facts(run: Path, exported: dict[str, Path]) -> None:
    facts = {to: open_runtime(path).facts for to, path in exported.items()}
    for to, told in facts.items():
        assert told["format"] == to
        assert told["classes"] == ["sky", "road", "car"]
        assert told["colors"] == [list(color) for color in CLASSES.colors]
        assert (told["ignore"], told["size"], told["input"]["kind"]) == (255, None, "uint8")
        assert told["outputs"] == ["labels", "confidence"]
        assert len(told["weights_sha256"]) == 64
        assert told["parity"]["images"] == 3
        assert told["parity"]["agreement"] >= 0.999
        assert told["parity"]["drop"] == pytest.approx(0, abs=0.05)
    differing = {"format", "parity", "opset"}
    assert [{k: v for k, v in told.items() if k not in differing} for told in facts.values()] == [
        {k: v for k, v in facts["onnx"].items() if k not in differing}
    ] * 3


def test_axes_of_an_onnx_file_are_named(exported: dict[str, Path]) -> None:
    session = onnxruntime.InferenceSession(exported["onnx"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("image", "tensor(uint8)", ["batch", "height", "width", 3])
    ]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [
        ("labels", ["batch", "height", "width"]),
        ("confidence", ["batch", "height", "width"]),
    ]


@pytest.mark.parametrize("to", FILES)
def test_predict_and_evaluate_take_a_file_for_the_run(
    run: Path, exported: dict[str, Path], to: str, capsys: Any
) -> None:
    picture = run.parent / "data" / "images" / "7.png"
    ours, theirs = Predictor.load(run)(picture), Predictor.load(exported[to])(picture)
    assert (ours.labels == theirs.labels).mean() >= 0.999
    np.testing.assert_allclose(theirs.scores, ours.scores, atol=1e-4)
    scores = []
    for source in (run, exported[to]):
        capsys.readouterr()
        assert main(["evaluate", str(source), "--json"]) == 0
        scores.append(json.loads(capsys.readouterr().out)["model"]["miou"])
    assert scores[0] > 80
    assert scores[1] == pytest.approx(scores[0], abs=0.05)
    out = run.parent / f"predicted-{to}"
    assert main(["predict", str(exported[to]), str(picture), "--out", str(out), "--json"]) == 0
    assert (np.asarray(Image.open(out / "7.png")) == theirs.labels).all()


def test_a_multiple_is_kept_inside(tmp_path: Path) -> None:
    run = write_run(tmp_path, mode="resize", multiple=24)
    assert main(["export", str(run), "--to", "onnx"]) == 0
    runtime = open_runtime(run / "export" / "model.onnx")
    assert runtime.facts["multiple"] == 24
    predictor = Predictor.load(run)
    image = draw(3, (77, 61))[0]
    (labels,) = runtime.answer(image[None], ["labels"])
    assert (labels[0] == predictor(image).labels).mean() >= 0.999
    assert (Predictor.load(run / "export" / "model.onnx")(image).labels == labels[0]).all()


def test_a_raw_file_gives_logits(run: Path) -> None:
    assert main(["export", str(run), "--to", "onnx", "--raw"]) == 0
    path = run / "export" / "model-raw.onnx"
    predictor, image = Predictor.load(run), torch.randn(2, 3, 50, 70)
    with torch.inference_mode():
        wanted = predictor.model(image).numpy()
    (logits,) = open_runtime(path).answer(image.numpy(), ["logits"])
    np.testing.assert_allclose(logits, wanted, atol=1e-3)
    picture = draw(30)[0]
    assert (Predictor.load(path)(picture).labels == predictor(picture).labels).mean() >= 0.999


def break_weights(artefact: OnnxArtefact) -> OnnxArtefact:
    """The model with the signs of its last layer turned."""
    return _change(artefact, "segmenter.classifier.weight", -1)


def _change(artefact: OnnxArtefact, name: str, factor: float) -> OnnxArtefact:
    import onnx

    (weights,) = (each for each in artefact.model.graph.initializer if each.name == name)
    numbers = onnx.numpy_helper.to_array(weights) * np.float32(factor)
    weights.CopyFrom(onnx.numpy_helper.from_array(numbers, name))
    return artefact


def test_a_broken_conversion_is_refused_and_leaves_nothing(run: Path, monkeypatch: Any, capsys: Any) -> None:
    convert = steps.to_onnx
    monkeypatch.setattr(steps, "to_onnx", lambda *given, **options: break_weights(convert(*given, **options)))
    out = run.parent / "broken" / "model.onnx"
    assert main(["export", str(run), "--to", "onnx", "--out", str(out)]) == 4
    assert "the onnx file disagrees with its model" in error_of(capsys)
    assert list(out.parent.iterdir()) == []


def write_vit(folder: Path) -> Path:
    torch.manual_seed(0)
    options = {"encoder": "test_vit"}
    segmenter = build_segmenter("dpt", num_classes=3, **options)
    card = ModelCard("dpt", 3, CLASSES, options, segmenter.normalization, {"mode": "whole", "window": 64})
    save_model(folder / "vit.safetensors", segmenter, card)
    return folder / "vit.safetensors"


def test_a_vision_transformer_leaves_with_one_size(run: Path, tmp_path: Path, capsys: Any) -> None:
    weights, images = write_vit(tmp_path), str(run.parent / "data" / "images")
    assert main(["export", str(weights), "--to", "torch", "--images", images]) == 0
    path = tmp_path / "vit.pt2"
    assert open_runtime(path).facts["size"] == [64, 64]
    predictor, image = Predictor.load(weights, mode="sliding", window=64), draw(5, (90, 110))[0]
    assert (Predictor.load(path)(image).labels == predictor(image).labels).mean() >= 0.999


@pytest.mark.parametrize("fault", ["fails", "gives labels of shape", "of the labels are those of the model"])
def test_a_file_that_is_right_at_one_size_alone_is_found_out(fault: str) -> None:
    model = Model(lambda image: (image[..., 0] % 3, image[..., 0] / 255), 3)

    class OneSize:
        facts = {"outputs": [LABELS, CONFIDENCE]}

        def answer(self, image: np.ndarray, names: Any) -> list[np.ndarray]:
            labels, confidence = model.compute(image)
            if image.shape[1:3] == (96, 128):
                return [labels, confidence]
            if fault == "fails":
                raise ValueError("sizes are fixed")
            return [labels[:, 1:] if "shape" in fault else labels * 0, confidence]

    sample = Sample(np.random.default_rng(0).integers(0, 256, (1, 40, 50, 3), np.uint8), None)
    told = find_disagreement(model, OneSize(), sample, fixed=None, raw=False, bar=0.999)
    assert told is not None
    assert "a batch of 3 of 161 x 113" in told
    assert fault in told


def test_int8_is_accepted_within_its_drop_and_refused_beyond(run: Path, monkeypatch: Any, capsys: Any) -> None:
    assert main(["export", str(run), "--to", "onnx", "--precision", "int8", "--max-drop", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parity"]["drop"] <= 3
    assert told["int8"]["layers"] > len(told["int8"]["in_float"])
    kinds = {node.op_type for node in open_runtime(Path(told["file"]))._bare.graph.node}
    assert "QuantizeLinear" in kinds
    convert = steps.to_onnx
    monkeypatch.setattr(steps, "to_onnx", lambda *given, **options: break_weights(convert(*given, **options)))
    out = run.parent / "worse.onnx"
    assert main(["export", str(run), "--to", "onnx", "--precision", "int8", "--out", str(out)]) == 4
    printed = capsys.readouterr().err
    assert "layers in float, and --max-drop is 1" in printed
    assert printed.count("int8, ") == 5  # none, the ends, then three shares
    assert not out.exists()


def test_compare_takes_files_of_every_format(run: Path, exported: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    words = [word for path in (run, *exported.values()) for word in ("--runs", str(path))]
    capsys.readouterr()
    assert main(["compare", *words, "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [arm["name"] for arm in found["arms"]] == ["run", *(f"{to} fp32" for to in FILES)]
    assert [arm["mean"] for arm in found["arms"]] == [pytest.approx(found["arms"][0]["mean"], abs=0.05)] * 4
    assert {path.name.partition("-")[0] for path in (tmp_path / "scores").iterdir()} == {"model"}
    assert len(list((tmp_path / "scores").iterdir())) == 4


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_fp16_is_smaller_and_near(run: Path, exported: dict[str, Path], to: str) -> None:
    assert main(["export", str(run), "--to", to, "--precision", "fp16"]) == 0
    name = FILES[to].replace("model", "model-fp16")
    half, whole = run / "export" / name, exported[to]
    if to == "openvino":
        half, whole = half.with_suffix(".bin"), whole.with_suffix(".bin")
    assert half.stat().st_size < 0.7 * whole.stat().st_size
    assert open_runtime(run / "export" / name).facts["parity"]["agreement"] >= 0.995


def test_a_file_of_another_program_is_refused_in_a_line(run: Path, tmp_path: Path, capsys: Any) -> None:
    import onnx

    value = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("labels", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["image"], ["labels"])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [out])), tmp_path / "other.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    (tmp_path / "bad.pt2").write_bytes(b"no model")
    (tmp_path / "bad.xml").write_text("<no/>")
    for name, told in {
        "other.onnx": "not written by semiovs",
        "bad.onnx": "damaged",
        "bad.pt2": "damaged",
        "bad.xml": "bad.bin, are not beside it",
    }.items():
        assert main(["predict", str(tmp_path / name), str(run.parent / "data" / "images" / "7.png")]) == 4
        assert told in error_of(capsys)


@pytest.mark.parametrize(("to", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_missing_package_is_told_with_its_extra(
    run: Path, exported: dict[str, Path], to: str, package: str, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    for command in (["export", str(run), "--to", to, "--overwrite"], ["evaluate", str(exported[to])]):
        assert main(command) == 4
        assert error_of(capsys).endswith(f"needs {package}; pip install 'semiovs[export]'")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--to", "onxx"], "--to onxx: not known (did you mean 'onnx'?)"),
        (["--to", "torch", "--precision", "int8"], "--precision int8: for onnx and openvino"),
        (["--to", "onnx", "--precision", "int4"], "--precision int4: not known"),
        (["--to", "onnx", "--size", "4"], "--size 4: one number, HxW"),
        (["--to", "onnx", "--opset", "9"], "--opset 9: must be at least 18"),
        (["--to", "onnx", "--out", "model.bin"], "ends in .onnx"),
        (["--to", "onnx"], "is there already; --overwrite replaces it"),
    ],
)
def test_mistakes_are_told(run: Path, exported: dict[str, Path], arguments: list[str], told: str, capsys: Any) -> None:
    assert exported["onnx"].exists()
    assert main(["export", str(run), *arguments]) == 2
    assert told in error_of(capsys)


def test_resizing_before_the_network_needs_raw(tmp_path: Path, capsys: Any) -> None:
    run = write_run(tmp_path, short_side=48)
    assert main(["export", str(run), "--to", "onnx"]) == 2
    assert "eval.short_side resizes images before the network" in error_of(capsys)


def test_the_code_on_the_page_gives_the_labels(exported: dict[str, Path], tmp_path: Path, monkeypatch: Any) -> None:
    """The blocks of docs/deploy.md, as they stand, in a folder with the files and a photograph."""
    import shutil

    for path in exported.values():
        for part in (path, path.with_suffix(".bin")):
            if part.exists():
                shutil.copy(part, tmp_path / part.name)
    image = draw(11)[0]
    Image.fromarray(image).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    found = [text for language, text, _ in blocks(ROOT / "docs" / "deploy.md") if language == "python"]
    assert len(found) == 3
    wanted = Predictor.load(exported["torch"])(image).labels
    for text in found:
        assert "semiovs" not in text.replace("semiovs.json", "").replace('"semiovs"', "")
        space: dict[str, Any] = {}
        exec(compile(text, "docs/deploy.md", "exec"), space)
        assert (np.asarray(space["labels"][0]) == wanted).mean() >= 0.999
        assert space["classes"] == ["sky", "road", "car"]


def test_sliding_windows_of_a_file_are_those_of_the_model(run: Path, exported: dict[str, Path]) -> None:
    image, through = draw(12, (100, 120))[0], {"mode": "sliding", "window": 64, "stride": 40}
    ours = Predictor.load(run, **through)(image)
    assert (Predictor.load(exported["onnx"], **through)(image).labels == ours.labels).mean() >= 0.999

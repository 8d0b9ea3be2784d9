"""The table of targets: one row each."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

from benchmarks.fuzz import model_files, picture_files, text_files
from benchmarks.fuzz.target import Target

_ALL = (
    Target("config", "yaml", "own.yaml", text_files.config, text_files.read_config),
    Target("arguments", "words", "arguments", text_files.arguments, text_files.read_arguments),
    Target("mask-map", "yaml", "map.yaml", text_files.mask_map, text_files.read_mask_map),
    Target("classes-yaml", "yaml", "classes.yaml", text_files.classes, text_files.read_classes),
    Target("classes-text", "words", "classes.txt", text_files.class_list, text_files.read_classes),
    Target("classes-csv", "words", "classes.csv", text_files.class_list, text_files.read_classes),
    Target("list", "words", "labeled.txt", text_files.image_list, text_files.read_list),
    Target("manifest", "jsonl", "labeled.jsonl", text_files.manifest, text_files.read_list),
    Target("store-index", "jsonl", "store/index.jsonl", text_files.store_index, text_files.read_store),
    Target("store-meta", "json", "store/meta.json", text_files.store_meta, text_files.read_store),
    Target("packed-index", "jsonl", "store/shards.jsonl", text_files.packed_index, text_files.read_store),
    Target("packed-tar", "tar", "store/000000.tar", text_files.packed_tar, text_files.read_store),
    Target("store-label", "picture", "store/labels/a.png", text_files.store_label, text_files.read_store),
    Target("coco", "json", "given.json", partial(text_files.annotations, "coco"), text_files.read_annotation),
    Target("cvat", "xml", "given.xml", partial(text_files.annotations, "cvat"), text_files.read_annotation),
    Target(
        "label-studio",
        "json",
        "given.json",
        partial(text_files.annotations, "label-studio"),
        text_files.read_annotation,
    ),
    Target("labelme", "json", "given.json", partial(text_files.annotations, "labelme"), text_files.read_annotation),
    Target("image", "picture", "a.png", picture_files.pictures, picture_files.read_picture),
    Target("image-bands", "picture", "a.png", picture_files.pictures, picture_files.read_bands),
    Target("mask", "picture", "a.png", picture_files.masks, picture_files.read_mask),
    Target("tiff-image", "tiff", "a.tif", picture_files.tiffs, picture_files.read_picture, "tifffile"),
    Target("tiff-bands", "tiff", "a.tif", picture_files.tiffs, picture_files.read_bands, "tifffile"),
    Target("tiff-mask", "tiff", "a.tif", picture_files.tiffs, picture_files.read_mask, "tifffile"),
    Target("tiff-windows", "tiff", "a.tif", picture_files.tiffs, picture_files.read_windows, "rasterio"),
    Target("scores-npy", "array", "a.npy", picture_files.array, picture_files.read_scores),
    Target("scores-npz", "arrays", "a.npz", picture_files.arrays, picture_files.read_scores),
    Target("tar", "tar", "a.tar", picture_files.tar, picture_files.read_tar),
    Target("matlab", "binary", "a.mat", picture_files.mat, picture_files.read_mat),
    Target("model", "safetensors", "a.safetensors", model_files.portable, model_files.read_model),
    Target("checkpoint", "zip", "a.pt", model_files.checkpoint, model_files.read_training),
    Target("published-pt", "zip", "a.pth", model_files.published, model_files.read_foreign),
    Target("published-safetensors", "safetensors", "b.safetensors", model_files.bare, model_files.read_foreign),
    Target("calibration", "json", "calibration.json", model_files.calibration, model_files.read_calibration),
    Target("run-metrics", "jsonl", "metrics.jsonl", model_files.metrics, model_files.read_run),
    Target("folder-classes", "yaml", "classes.yaml", model_files.class_files, model_files.look_at_folder),
    Target("folder-nnunet", "json", "dataset.json", model_files.nnunet, model_files.look_at_folder),
)

#: Name -> target, of those whose package is installed.
TARGETS = {target.name: target for target in _ALL if not target.package or find_spec(target.package) is not None}

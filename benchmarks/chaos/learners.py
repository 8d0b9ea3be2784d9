"""Every learner with and without OOD images, as small as it trains."""

from __future__ import annotations

_OOD = ("ood.images=ood", "ood.labels=ood-labels")
_SURE, _EMA, _NO_EMA = "method.conf_thresh=0.4", "method.ema_decay=0.9", "method.ema_decay=null"
_SEMIVL = (
    "model.name=semivl", "model.taps=[0,1]", "model.text=words", "model.trained=all", "model.image_size=32",
    "model.up_channels=[16,16]", "model.skip_channels=[8,8]", "model.pool=2", "optim.name=adamw", "optim.lr=1e-3",
    "optim.head_lr_multiplier=1", "eval.mode=sliding", "eval.average=logits", "eval.short_side=40", "data.fit=[64,48]",
)  # fmt: skip

_OWN: dict[str, tuple[str, ...]] = {
    "supervised": (_EMA,),
    "fixmatch": (_EMA, _SURE),
    "unimatch": (_EMA, _SURE),
    "prevmatch": (_EMA, _SURE),
    "unimatch-v2": (_EMA, _SURE),
    "semivl": (_EMA, _SURE, *_SEMIVL),
    "allspark": (_NO_EMA, "method.conf_thresh=0.0", "method.warmup_epoch=1"),
    "ddfp": (_EMA, _SURE, "model.name=deeplabv3plus-dual"),
    "corrmatch": (_NO_EMA, _SURE, "method.thresh_momentum=0.9"),
}

#: Each learner, alone and with OOD images -> its settings.
LEARNERS: dict[str, tuple[str, ...]] = {
    f"{name} {arm}": (f"method.name={name}", *own, *streams)
    for name, own in _OWN.items()
    for arm, streams in (("alone", ()), ("+ OOD", _OOD))
}
#: Those that are harmed in turn in most kinds of trials.
METHODS: dict[str, tuple[str, ...]] = {
    name: LEARNERS[f"{name} {'alone' if name == 'supervised' else '+ OOD'}"]
    for name in ("unimatch", "supervised", "prevmatch", "fixmatch")
}

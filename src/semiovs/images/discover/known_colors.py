"""The colours in which masks of well-known data sets are painted, with the names of their classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from semiovs.images.conventions import IGNORE
from semiovs.images.discover.found_classes import NO_CLASS
from semiovs.images.mask_values import Key
from semiovs.vocab.colors import parse_hex, voc_color
from semiovs.vocab.vocabulary import Vocabulary

BLACK = (0, 0, 0)
#: Colours that everybody uses, and which speak for no table: black, white, red, yellow and the like.
_PLAIN = frozenset(product((0, 255), repeat=3))
#: Further colours by which a table is recognised; share of the colours that it has to know if it is not complete.
_FEWEST, _SHARE = 3, 0.75

#: Cityscapes' classes of ids 0 to 33 that are not evaluated (static, polegroup and license plate have the colours of
#: 'not labelled', pole and car).
_NOT_EVALUATED: Mapping[str, str] = {
    "dynamic": "6f4a00", "ground": "510051", "parking": "faaaa0", "rail track": "e6968c", "guard rail": "b4a5b4",
    "bridge": "966464", "tunnel": "96785a", "caravan": "00005a", "trailer": "00006e",
}  # fmt: skip

#: Colours of ADE20K's 150 classes, in their order; road and skyscraper have the same one.
_ADE20K = """
787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33 ff0652
8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff 08ffd6 07ffe0
ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff eb0cff a09614 00a3ff
8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff 0bc8c8 ff5200 00fff5 003dff
00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff
ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52 000aff 0070ff 3300ff 00c2ff 007aff
00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070
5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3 ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500
0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff
b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""


@dataclass(frozen=True)
class ColorTable:
    """Colours of a well-known data set, or of a class file.

    names: colour -> class, or `NO_CLASS`; classes: all classes in the order of their ids; aside: colour -> class that
    is ignored unless somebody names it; unclear: colour -> the classes that share it; complete: whether such masks have
    no other colours; remark: what a person should check.
    """

    source: str
    names: Mapping[Key, str]
    classes: tuple[str, ...] = ()
    aside: Mapping[Key, str] = field(default_factory=dict)
    unclear: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)
    complete: bool = True
    remark: str = ""

    def knows(self, colors: Sequence[Key]) -> bool:
        """Whether masks with these colours are probably painted by the table."""
        every = {*self.names, *self.aside, *self.unclear}
        known = [color for color in colors if color in every]
        wanted = len(colors) if self.complete else _SHARE * len(colors)
        return len({*known} - _PLAIN) >= _FEWEST and len(known) >= wanted


def list_known_tables() -> Iterator[ColorTable]:
    """The tables of Pascal VOC, Cityscapes and ADE20K."""
    voc = Vocabulary.load("voc21").names
    colors: dict[Key, str] = {voc_color(index): name for index, name in enumerate(voc)}
    colors[voc_color(IGNORE)] = NO_CLASS
    yield ColorTable("Pascal VOC", colors, voc)
    city = Vocabulary.load("cityscapes19")
    colors = {BLACK: NO_CLASS, **dict(zip(city.colors, city.names, strict=True))}
    aside = {_parse(code): name for name, code in _NOT_EVALUATED.items()}
    yield ColorTable("Cityscapes", colors, city.names, aside, complete=False)  # others add colours to its own
    yield _build_ade20k()


def _build_ade20k() -> ColorTable:
    classes = Vocabulary.load("ade150").names
    owners: dict[Key, tuple[str, ...]] = {}
    for code, name in zip(_ADE20K.split(), classes, strict=True):
        color = _parse(code)
        owners[color] = (*owners.get(color, ()), name)
    names = {BLACK: NO_CLASS} | {color: found[0] for color, found in owners.items() if len(found) == 1}
    unclear = {color: found for color, found in owners.items() if len(found) > 1}
    remark = "mmsegmentation paints other data sets in them too (Pascal Context): check the names"
    return ColorTable("ADE20K", names, classes, unclear=unclear, remark=remark)


def _parse(code: str) -> Key:
    return parse_hex(code) or BLACK

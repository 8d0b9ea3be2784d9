"""Colours of classes that name none of their own: told apart also by people with colour-blindness."""

from __future__ import annotations

from collections.abc import Sequence

from semiovs.vocab.colors import RGB, parse_hex

BLACK: RGB = (0, 0, 0)

_TABLE = """
8800ff e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7 663311 444455 aaee77 bb55ff ff0055 3333bb 662277 00eeff
994400 ccaaaa 667744 885588 aabb88 dd00bb 114433 ff8844 9999ff 77cc66 552299 88ee99 7777dd 7744ee aa0066 ffaadd
ff2277 993399 bb3333 880033 ff77dd ffccdd 559911 ffbb00 bbdd55 447755 cc0088 5500cc 8844cc bb77bb 44bb66 888888
88ccff 99cc55 bbaabb 0000ff aa9988 884422 663399 3377ee 8877cc ee88cc 998855 771166 ee7744 dd7799 ddcc88 335544
eebbaa 996622 ccccee dd0066 446633 334444 8800cc 773300 770088 445555 aaeeee ddbbcc 99aaff ff9988 9988ff cc33aa
ff6622 bb6699 888833 00ff33 777777 bb4499 771122 66ddaa 8833ff 557733 2211dd 0044aa 77dd33 997755 ffaa77 aa0077
cc9966 55bb44 8855ff 99aa77 7733bb 556644 dd00dd bbbb99 aa99bb ffddaa 118866 115577 889933 bbee55 443388 dddd88
ee33cc 555599 cc0011 224422 8800aa bbccbb ff55aa 6622dd 226622 bb22aa 664466 bb7777 4444cc aabb22 aa99dd 992288
ee8899 99bbff ccddcc cc3344 9955bb 3366dd 66ff66 006677 cc55aa 88ccdd 776699 aa22dd 33ee66 66aacc bb9922 990044
99dd99 8855cc 3388ff bb77dd 4411aa cc6688 44ffaa ee88ee dd5566 8888cc aa6688 bb4466 00aaaa 66dd44 666611 cc8855
44cc77 775555 88eedd 990066 ddaacc ee99ee 776666 886655 7777bb 66ddff 7744bb 44dd77 8888ee 553333 ee77bb bb0077
cc5544 99bb55 771144 cc55dd 991155 558844 bbbbbb 7722ee 55aa55 bb44ee ff22ee bb8833 6600ee 6611bb dd6699 8822dd
bbddee cc3322 ccbbee aaaa33 cc88cc 2288cc 55cc44 99ee00 77eebb 88bbaa ffaa33 aacc99 99aadd 66bb99 881199 555588
66eecc bb8866 cc6622 ccee66 880011 ccbb66 bb0033 ccaa77 772255 4499ff 551199 55aa88 9911cc ffdd55 119999 9944aa
88dd88 ff22bb bb22ff 886688 00bbff 3311bb 337777 664422 5533aa dd00ee dd2233 cc66ee bbddaa 774400 77aa44 7777aa
990022 bb5533 887733 aaaacc 005533 dddd00 eeddee aa2244 5577cc 661177 dd7711 888866 00aa33 ee7788 aa11ee
"""

#: Colour of each class id from 0 on, 255 in all. Ids 1 to 7 have those of Okabe and Ito (Color Universal Design, 2008),
#: whose black is left to a background. Each other one, id 0 first, was chosen among the colours with parts of 0, 17, …,
#: 255 and a CIELAB lightness of 25 to 90, as the one farthest from all before it, black, white and the colour of
#: ignored pixels. Far means: CIELAB distance in the worst of four views, normal and the three of Machado et al. (2009,
#: severity 1). The first 12 are 16 apart at least, the first 21 are 15 (the first 8 of VOC's: 4).
DEFAULT_COLORS: tuple[RGB, ...] = tuple(color for code in _TABLE.split() if (color := parse_hex(code)))


def complete_colors(named: Sequence[RGB | None], *, background: bool) -> tuple[RGB, ...]:
    """Colours of classes in the order of their ids: those named, and a default for each None, which no other class has
    (among 255 at most).

    background: whether class 0 is a background, which is black.
    """
    taken = {color for color in named if color is not None}
    defaults = (BLACK if background else DEFAULT_COLORS[0], *DEFAULT_COLORS[1:])
    free = {i: defaults[i] for i, color in enumerate(named[:255]) if color is None and defaults[i] not in taken}
    spare = (color for color in DEFAULT_COLORS if color not in taken and color not in free.values())
    return tuple(color or free.get(i) or next(spare, BLACK) for i, color in enumerate(named))

"""A synthetic data set: scenes of textured objects with masks, drawn from a seed in a few seconds.

A class is a texture (`textures.NAMED`) in any colours, scale, direction and outline, with clutter, shadows, light and
occlusion. The target domain has labels; the OOD domain has other grounds and colours, and also objects of textures
outside of the class list (`textures.FOREIGN`), whose truth is background.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.demo.textures import FOREIGN, NAMED, Field, Plane, Texture, clamp, make_pixel_grid
from semiovs.errors import DataError, UsageError
from semiovs.files import new_folder
from semiovs.images.palette import voc_palette
from semiovs.vocab.vocabulary import Vocabulary
from semiovs.vocab.yaml_writer import to_yaml

Pixels = NDArray[np.uint8]
Ground = str

#: Class names in the order of their ids; 0 is everything that is not a named texture.
CLASSES = ("background", *NAMED)

#: Name of everything outside of objects.
GROUND = "ground"

#: Their colours in pictures.
COLORS = (
    (44, 47, 54),
    (78, 121, 167),
    (242, 142, 43),
    (225, 87, 89),
    (118, 183, 178),
    (89, 161, 79),
    (237, 201, 72),
    (176, 122, 161),
)


#: Vocabulary for teachers: textures that are not classes are concepts of the background.
VOCABULARY = Vocabulary(CLASSES, ((GROUND, *FOREIGN), *((name,) for name in NAMED)), COLORS)

#: Draws two RGB colours, (3,) each, for the two ends of a pattern, in the ranges of a domain.
Pair = Callable[["Domain", np.random.Generator], tuple[Field, Field]]


def draw_two_colors(domain: Domain, rng: np.random.Generator) -> tuple[Field, Field]:
    """Draw two independent colours."""
    return draw_color(domain, rng), draw_color(domain, rng)


@dataclass(frozen=True)
class Material:
    """Material of an object.

    label: id of its class, 0 if its truth is background; weight: how often it comes; colors: draws the texture's two
    colours.
    """

    texture: Texture
    label: int
    weight: float = 1.0
    colors: Pair = draw_two_colors


@dataclass(frozen=True)
class Domain:
    """Statistics of the scenes of a domain.

    materials: what objects are made of; grounds: kinds of background; saturation, brightness: ranges of colours; tint:
    strength of a common colour cast; periods: of the textures, pixels; noise: standard deviation, in [0, 1]; contrast:
    between the two colours of a texture.
    """

    name: str
    materials: Sequence[Material]
    grounds: tuple[Ground, ...]
    saturation: tuple[float, float]
    brightness: tuple[float, float]
    tint: float
    periods: tuple[float, float] = (7.0, 12.0)
    noise: float = 0.03
    contrast: tuple[float, float] = (0.3, 0.7)


_CLASSES = [Material(texture, number) for number, texture in enumerate(NAMED.values(), start=1)]

TARGET = Domain(
    "target",
    [*_CLASSES, *(Material(texture, 0, 0.15) for texture in FOREIGN.values())],
    ("clouds", "slope"),
    (0.2, 0.8),
    (0.25, 0.9),
    0.0,
)

OOD = Domain(
    "ood",
    [*_CLASSES, *(Material(texture, 0, 0.8) for texture in FOREIGN.values())],
    ("patches", "bands", "grain"),
    (0.0, 0.45),
    (0.1, 0.75),
    0.35,
    periods=(6.0, 13.0),
    noise=0.05,
    contrast=(0.25, 0.6),
)


@dataclass(frozen=True)
class Scene:
    """An image and its truth.

    image: (H, W, 3) uint8; mask: (H, W) uint8 class ids; objects: (H, W) uint8, number of the object (of a named or an
    unnamed texture), 0 for none.
    """

    image: Pixels
    mask: Pixels
    objects: Pixels


def render_scene(domain: Domain, side: int, rng: np.random.Generator) -> Scene:
    """Draw one scene of side² pixels: ground, clutter, two to four objects in painter's order, twigs, light, noise."""
    image = _draw_ground(domain, side, rng)
    mask, objects = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)
    for _ in range(rng.integers(0, 4)):
        _paint(image, _draw_outline(side, (0.04, 0.12), rng), draw_color(domain, rng))
    weights = np.array([material.weight for material in domain.materials])
    for number in range(1, rng.integers(2, 5) + 1):
        material = domain.materials[rng.choice(len(weights), p=weights / weights.sum())]
        inside = _draw_outline(side, (0.17, 0.3), rng)
        shadow = np.roll(inside, tuple(rng.integers(-3, 4, 2)), (0, 1))
        _paint(image, shadow * np.float32(0.5), np.zeros(3, np.float32))
        _paint(image, inside, _draw_surface(material, domain, side, rng))
        hit = inside > 0.5
        mask[hit], objects[hit] = material.label, number
    for _ in range(rng.integers(0, 3)):
        twig = _draw_twig(side, rng)
        _paint(image, twig, draw_color(domain, rng))
        mask[twig > 0.5] = objects[twig > 0.5] = 0
    return Scene(_apply_light(image, domain, rng), mask, objects)


def _draw_surface(material: Material, domain: Domain, side: int, rng: np.random.Generator) -> Field:
    """(H, W, 3): a texture in two colours of enough contrast; either may be the brighter one."""
    pattern = material.texture(Plane.draw(side, domain.periods, rng))[..., None]
    first, second = material.colors(domain, rng)
    gap = rng.uniform(*domain.contrast) * rng.choice((-1, 1))
    middle = np.clip((first.mean() + second.mean()) / 2, abs(gap) / 2, 1 - abs(gap) / 2)
    first, second = first - first.mean() + middle + gap / 2, second - second.mean() + middle - gap / 2
    return np.asarray(first * pattern + second * (1 - pattern), np.float32)


def draw_color(domain: Domain, rng: np.random.Generator, turns: tuple[float, float] = (0.0, 1.0)) -> Field:
    """(3,) RGB in the domain's ranges; its hue lies between two shares of the circle red (0), blue, green, red (1)."""
    hue = rng.uniform(2 * np.pi * turns[0], 2 * np.pi * turns[1]) + np.array([0, 2, 4]) * np.pi / 3
    brightness, saturation = rng.uniform(*domain.brightness), rng.uniform(*domain.saturation)
    return np.asarray(brightness * (1 + 0.6 * saturation * np.cos(hue)), np.float32)


def _paint(image: Field, alpha: Field, color: Field) -> None:
    """Blend (H, W, 3) or (3,) `draw_color` into the image."""
    image += alpha[..., None] * (color - image)


def _draw_ground(domain: Domain, side: int, rng: np.random.Generator) -> Field:
    kind = domain.grounds[rng.integers(len(domain.grounds))]
    plane = Plane.draw(side, (0.3 * side, 0.6 * side), rng)
    if kind == "clouds":
        pattern = 0.7 * plane.noise() + 0.3 * plane.scale(2.3).noise()
    elif kind == "slope":
        pattern = (plane.u - plane.u.min()) / np.ptp(plane.u)
    elif kind == "patches":
        pattern = plane.scale(1.5).find_sites()[2]
    elif kind == "bands":
        pattern = 0.5 + 0.5 * np.sin(2 * np.pi * plane.u + 2 * plane.noise())
    else:
        pattern = 0.5 * plane.scale(4).noise() + 0.5 * plane.scale(9).noise()
    pattern = pattern[..., None].astype(np.float32)
    return np.asarray(draw_color(domain, rng) * pattern + draw_color(domain, rng) * (1 - pattern), np.float32)


def _draw_outline(side: int, radii: tuple[float, float], rng: np.random.Generator) -> Field:
    """(H, W) in [0, 1]: a smooth blob or a polygon somewhere in the picture; `radii` as shares of the side."""
    y, x = make_pixel_grid(side) - rng.uniform(0.1, 0.9, (2, 1, 1)).astype(np.float32) * side
    radius, stretch, angle = rng.uniform(*radii) * side, rng.uniform(0.75, 1.33), rng.uniform(0, 2 * np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = (cos * x + sin * y) * np.float32(stretch), (cos * y - sin * x) / np.float32(stretch)
    far, around = np.hypot(x, y), np.arctan2(y, x)
    if rng.random() < 0.5:
        edge = np.ones_like(far)
        for lobes in (2, 3, 5):
            edge += np.float32(rng.uniform(0, 0.4 / lobes)) * np.cos(lobes * around + np.float32(rng.uniform(0, 6.3)))
    else:
        corners = rng.integers(3, 7)
        sector = np.float32(2 * np.pi / corners)
        edge = np.float32(1.05 * np.cos(sector / 2)) / np.cos(np.mod(around, sector) - sector / 2)
    return clamp(0.5 - (far - np.float32(radius) * edge))


def _draw_twig(side: int, rng: np.random.Generator) -> Field:
    """(H, W) in [0, 1]: a thin bent line across the picture."""
    plane = Plane.draw(side, (side, side), rng)
    line = plane.u - plane.u.mean() + np.float32(rng.uniform(-0.3, 0.3) + 0.1 * np.sin(rng.uniform(0, 6.3)))
    bend = np.float32(rng.uniform(0.02, 0.1)) * np.sin(plane.v * np.float32(rng.uniform(4, 9)))
    return clamp(np.float32(rng.uniform(1.0, 2.2)) - np.abs(line + bend) * side)


def _apply_light(image: Field, domain: Domain, rng: np.random.Generator) -> Pixels:
    """Apply light that falls off across the image, colour cast and noise; convert to 8 bits."""
    side = image.shape[0]
    plane = Plane.draw(side, (side, side), rng)
    light = 1 + np.float32(rng.uniform(0, 0.6)) * (plane.u - plane.u.mean())
    cast = 1 + domain.tint * rng.uniform(-1, 1, 3)
    grain = rng.standard_normal(image.shape, np.float32) * np.float32(domain.noise)
    out = image * light[..., None] * cast.astype(np.float32) + grain
    return np.asarray(clamp(out) * 255 + 0.5, np.uint8)


@dataclass(frozen=True)
class WorldSize:
    """Numbers of pictures, and their side in pixels."""

    labeled: int = 9
    unlabeled: int = 400
    ood: int = 400
    val: int = 150
    side: int = 64

    def __post_init__(self) -> None:
        for name, least in (("labeled", 1), ("unlabeled", 1), ("ood", 1), ("val", 1), ("side", 32)):
            if getattr(self, name) < least:
                raise UsageError(f"synthetic world: {name} {getattr(self, name)} must be at least {least}")


#: Scenes for each one that is labelled.
_OFFERED = 3

#: Folders of images, and of the masks that belong to them: the layout of the data set `folder`, and two folders more.
_PARTS = ("labeled", "unlabeled", "val", "ood")


def write_world(
    root: str | Path,
    seed: int,
    *,
    size: WorldSize = WorldSize(),
) -> Path:
    """Write a world as a `folder` data set and return its root; the folder appears only when complete.

    images/ with masks/, unlabeled/, val/images with val/masks, ood/, classes.yaml (`VOCABULARY`: what a teacher is
    asked for); also ood-truth/ (masks of the OOD images, to score teachers only).

    Raises:
        UsageError: a seed below 0, or `root` is there and not empty.
        DataError: it cannot be written.
    """
    with new_world(Path(root), seed) as partial:
        _write_parts(partial, seed, size)
    return Path(root)


@contextmanager
def new_world(root: Path, seed: int) -> Iterator[Path]:
    """Context with a temporary folder that is renamed to `root` at the end, or removed if the body fails.

    Raises:
        UsageError: a seed below 0, or `root` is there and not empty.
        DataError: it cannot be written.
    """
    if seed < 0:
        raise UsageError(f"seed {seed}: must not be negative")
    try:
        with new_folder(root, UsageError) as partial:
            yield partial
    except OSError as error:
        raise DataError(f"{root}: the synthetic world cannot be written: {error.strerror or error}") from None


def _write_parts(root: Path, seed: int, size: WorldSize) -> None:
    for folder in ("images", "masks", "unlabeled", "val/images", "val/masks", "ood", "ood-truth"):
        (root / folder).mkdir(parents=True)
    (root / "classes.yaml").write_text(to_yaml(VOCABULARY))
    colors = voc_palette().tobytes()
    for name, scene in _choose_labeled(seed, size.labeled, size.side):
        save_png(root / "images" / name, scene.image)
        save_png(root / "masks" / name, scene.mask, colors)
    for name, scene in _iterate_scenes("unlabeled", seed, size.unlabeled, size.side):
        save_png(root / "unlabeled" / name, scene.image)
    for name, scene in _iterate_scenes("val", seed, size.val, size.side):
        save_png(root / "val/images" / name, scene.image)
        save_png(root / "val/masks" / name, scene.mask, colors)
    for name, scene in _iterate_scenes("ood", seed, size.ood, size.side):
        save_png(root / "ood" / name, scene.image)
        save_png(root / "ood-truth" / name, scene.mask, colors)


def _choose_labeled(seed: int, count: int, side: int) -> Iterator[tuple[str, Scene]]:
    """File names and scenes to label, as a person chooses them: each next one shows the class with the fewest pixels so
    far best.
    """
    offered = [scene for _, scene in _iterate_scenes("labeled", seed, _OFFERED * count, side)]
    pixels = np.array([np.bincount(scene.mask.ravel(), minlength=len(CLASSES))[1:] for scene in offered])
    left, total = list(range(len(offered))), np.zeros(len(CLASSES) - 1, np.int64)
    for number in range(count):
        rarest = int(total.argmin())
        best = max(left, key=lambda index: int(pixels[index, rarest]))
        left.remove(best)
        total += pixels[best]
        yield f"labeled-{number:04d}.png", offered[best]


def _iterate_scenes(part: str, seed: int, count: int, side: int) -> Iterator[tuple[str, Scene]]:
    """File names and scenes of one part; scene i is the same whatever the count."""
    for index in range(count):
        rng = np.random.default_rng([seed, _PARTS.index(part), index])
        yield f"{part}-{index:04d}.png", render_scene(OOD if part == "ood" else TARGET, side, rng)


def save_png(path: Path, pixels: Pixels, colors: bytes | None = None) -> None:
    """Write an image, or a mask with its palette."""
    image = Image.fromarray(pixels)
    if colors is not None:
        image.putpalette(colors)
    image.save(path, compress_level=1)

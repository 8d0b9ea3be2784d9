"""Named texture patterns with values in [0, 1], drawn on a plane of any scale and direction.

Three disjoint sets: `NAMED` are the classes of the demo, `FOREIGN` look similar but are not classes, `OTHER` were used
to pretrain the encoder `small`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: float32 numbers.
Field = NDArray[np.floating[Any]]
_TAU = np.float32(2 * np.pi)


@dataclass(frozen=True)
class Plane:
    """Coordinates on which a pattern is drawn. u, v: (H, W) in periods; pixel: size of a pixel in periods."""

    u: Field
    v: Field
    pixel: float
    rng: np.random.Generator

    @classmethod
    def draw(cls, side: int, periods: tuple[float, float], rng: np.random.Generator) -> Plane:
        """A plane of side² pixels with a random direction and origin; one period is `periods` (low, high) pixels
        long.
        """
        angle, period = rng.uniform(0, 2 * np.pi), rng.uniform(*periods)
        cos, sin = np.float32(np.cos(angle) / period), np.float32(np.sin(angle) / period)
        y, x = make_pixel_grid(side)
        shift = rng.uniform(0, 64, 2).astype(np.float32)
        return cls(cos * x + sin * y + shift[0], cos * y - sin * x + shift[1], 1.0 / period, rng)

    def move(self, u: Field, v: Field, pixel: float | None = None) -> Plane:
        """The plane with other coordinates."""
        return Plane(u, v, self.pixel if pixel is None else pixel, self.rng)

    def scale(self, factor: float) -> Plane:
        """The plane with periods 1 / `factor` times as long."""
        f = np.float32(factor)
        return self.move(self.u * f, self.v * f, self.pixel * factor)

    def fill(self, distance: Field) -> Field:
        """1 where a signed distance (in periods) is negative, 0 where it is positive, one pixel of ramp between."""
        return clamp(np.float32(0.5) - distance / np.float32(self.pixel))

    @cached_property
    def local(self) -> tuple[Field, Field]:
        """Position within the unit cell, each in [-½, ½)."""
        return self.u - np.floor(self.u) - np.float32(0.5), self.v - np.floor(self.v) - np.float32(0.5)

    def look_up(self, du: int = 0, dv: int = 0, *, table: NDArray[np.float64]) -> Field:
        """A random number of the unit cell `(du, dv)` further on, looked up in a square table."""
        side = len(table)
        rows, columns = (np.floor(c).astype(np.int32) + d for c, d in ((self.u, du), (self.v, dv)))
        return table[rows % side, columns % side].astype(np.float32)

    def draw_table(self, side: int = 16) -> NDArray[np.float64]:
        """Random numbers for `look_up`."""
        return self.rng.random((side, side))

    def find_sites(self) -> tuple[Field, Field, Field]:
        """Distances to the nearest and second nearest of one random point a unit cell, and the nearest one's number."""
        tables = [self.draw_table() for _ in range(3)]
        fu, fv = self.local
        first = np.full_like(fu, 9)
        second, number = first.copy(), np.zeros_like(fu)
        for du in (-1, 0, 1):
            for dv in (-1, 0, 1):
                su, sv, tone = (self.look_up(du, dv, table=t) for t in tables)
                far = np.hypot(fu - du - (su - 0.5) * 0.8, fv - dv - (sv - 0.5) * 0.8)
                nearer = far < first
                second = np.where(nearer, first, np.minimum(second, far))
                number = np.where(nearer, tone, number)
                first = np.where(nearer, far, first)
        return first, second, number

    def noise(self) -> Field:
        """Smooth value noise with features of one period, roughly uniform in [0, 1]."""
        table = self.draw_table()
        fu, fv = (c - np.floor(c) for c in (self.u, self.v))
        fu, fv = (f * f * (3 - 2 * f) for f in (fu, fv))
        low, high = (
            self.look_up(0, dv, table=table) * (1 - fu) + self.look_up(1, dv, table=table) * fu for dv in (0, 1)
        )
        return (low * (1 - fv) + high * fv).astype(np.float32)


Texture = Callable[[Plane], Field]


def clamp(values: Field) -> Field:
    """Values within [0, 1], float32."""
    return np.asarray(np.clip(values, 0, 1), np.float32)


@lru_cache
def make_pixel_grid(side: int) -> Field:
    """(2, side, side): row and column of each pixel."""
    grid: Field = np.mgrid[:side, :side].astype(np.float32)
    grid.flags.writeable = False
    return grid


def _box(u: Field, v: Field, width: float, height: float) -> Field:
    return np.maximum(np.abs(u) - np.float32(width), np.abs(v) - np.float32(height))


def _either(a: Field, b: Field) -> Field:
    return a + b - 2 * a * b


def _bond(p: Plane, rows: float, shift: float) -> Plane:
    """Rows of the unit lattice, `rows` to a period, each displaced against the one before."""
    v = p.v * np.float32(rows)
    return p.move(p.u + np.floor(v) * np.float32(shift), v)


def _turn_quarter(p: Plane) -> tuple[Field, Field]:
    """Local coordinates, turned by a quarter in a random half of the cells."""
    fu, fv = p.local
    turned = p.look_up(table=p.draw_table()) < 0.5
    return np.where(turned, fv, fu), np.where(turned, -fu, fv)


def _stripes(p: Plane) -> Field:
    return p.fill(np.abs(p.local[0]) - 0.25)


def _checks(p: Plane) -> Field:
    fu, fv = p.local
    return _either(p.fill(np.abs(fu) - 0.25), p.fill(np.abs(fv) - 0.25))


def _dots(p: Plane) -> Field:
    return p.fill(np.hypot(*p.local) - 0.31)


def _waves(p: Plane) -> Field:
    return _stripes(p.move(p.u + 0.3 * np.sin(_TAU * p.v * 0.6), p.v))


def _bricks(p: Plane) -> Field:
    q = _bond(p.move(p.u * 0.7, p.v), 1.4, 0.5)
    return p.fill(_box(*q.local, 0.42, 0.36))


def _cells(p: Plane) -> Field:
    first, second, _ = p.find_sites()
    return p.fill(0.16 - (second - first))


def _grid(p: Plane) -> Field:
    fu, fv = p.local
    return p.fill(np.minimum(np.abs(fu), np.abs(fv)) - 0.12)


def _zigzag(p: Plane) -> Field:
    return _stripes(p.move(p.u + 1.2 * np.abs(p.v * 0.5 - np.round(p.v * 0.5)), p.v))


def _rings(p: Plane) -> Field:
    return p.fill(np.abs(np.hypot(*p.local) - 0.3) - 0.1)


def _dashes(p: Plane) -> Field:
    q = _bond(p.move(p.u * 0.6, p.v), 1.5, 0.5)
    return p.fill(_box(*q.local, 0.3, 0.2))


def _triangles(p: Plane) -> Field:
    fu, fv = p.local
    return p.fill(np.maximum(fu + fv, -np.minimum(fu, fv) - 0.45))


def _hexagons(p: Plane) -> Field:
    far = [np.abs(np.sin(np.pi * (p.u * c + p.v * s))) for c, s in ((1, 0), (0.5, 0.866), (-0.5, 0.866))]
    return p.fill((np.minimum(np.minimum(far[0], far[1]), far[2]) - 0.22) / np.float32(np.pi))


def _plaid(p: Plane) -> Field:
    fu, fv = p.local
    return np.float32(0.5) * (p.fill(np.abs(fu) - 0.25) + p.fill(np.abs(fv) - 0.25))


def _crosses(p: Plane) -> Field:
    fu, fv = p.local
    return p.fill(np.minimum(_box(fu, fv, 0.38, 0.12), _box(fu, fv, 0.12, 0.38)))


def _squares(p: Plane) -> Field:
    return p.fill(_box(*_bond(p, 1.0, 0.5).local, 0.27, 0.27))


def _frames(p: Plane) -> Field:
    fu, fv = p.local
    return p.fill(np.abs(_box(fu, fv, 0.3, 0.3)) - 0.09)


def _scales(p: Plane) -> Field:
    q = _bond(p, 2.0, 0.5)
    fu, fv = q.local
    return p.fill(np.abs(np.hypot(fu, fv * 0.5 + 0.25) - 0.45) - 0.07)


def _arcs(p: Plane) -> Field:
    fu, fv = _turn_quarter(p)
    far = np.minimum(np.hypot(fu - 0.5, fv - 0.5), np.hypot(fu + 0.5, fv + 0.5))
    return p.fill(np.abs(far - 0.5) - 0.14)


def _maze(p: Plane) -> Field:
    fu, fv = _turn_quarter(p)
    return p.fill(np.abs(np.abs(fu + fv) - 0.0) - 0.2)


def _marble(p: Plane) -> Field:
    bend = p.noise() + 0.5 * p.scale(2.1).noise()
    return (0.5 + 0.5 * np.sin(_TAU * (p.u * 0.5 + 1.3 * bend))).astype(np.float32)


def _blobs(p: Plane) -> Field:
    return p.fill((0.5 - p.noise()) * 0.8)


def _speckle(p: Plane) -> Field:
    q = p.scale(2.2)
    return np.asarray(q.look_up(table=q.draw_table()) < 0.3, np.float32)


def _camouflage(p: Plane) -> Field:
    return np.asarray(np.floor(p.noise() * 2.99) / 2, np.float32)


def _ramps(p: Plane) -> Field:
    return (p.u - np.floor(p.u)).astype(np.float32)


def _pinstripes(p: Plane) -> Field:
    return p.fill(np.abs(p.local[0]) - 0.09)


def _ribbons(p: Plane) -> Field:
    fu = np.abs(p.local[0])
    return p.fill(np.minimum(fu - 0.16, np.abs(fu - 0.33) - 0.06))


def _crescents(p: Plane) -> Field:
    fu, fv = p.local
    return p.fill(np.maximum(np.hypot(fu, fv) - 0.4, 0.32 - np.hypot(fu - 0.17, fv)))


def _halves(p: Plane) -> Field:
    fu, fv = p.local
    return p.fill(np.maximum(np.hypot(fu, fv) - 0.4, -fu))


def _ovals(p: Plane) -> Field:
    fu, fv = _bond(p, 1.0, 0.5).local
    return p.fill((np.hypot(fu, fv * 2.4) - 0.4) * 0.6)


def _stones(p: Plane) -> Field:
    return p.find_sites()[2]


def _bubbles(p: Plane) -> Field:
    first, _, number = p.find_sites()
    return p.fill(np.abs(first - 0.2 - 0.15 * number) - 0.08)


def _confetti(p: Plane) -> Field:
    fu, fv = p.local
    angle = _TAU * p.look_up(table=p.draw_table())
    cos, sin = np.cos(angle), np.sin(angle)
    return p.fill(_box(cos * fu + sin * fv, cos * fv - sin * fu, 0.4, 0.13))


def _tartan(p: Plane) -> Field:
    fu, fv = (np.abs(f) for f in p.scale(0.7).local)
    lines = (p.fill(np.minimum(f - 0.05, np.abs(f - 0.3) - 0.1)) for f in (fu, fv))
    return sum(lines, np.zeros_like(fu)) * np.float32(0.5)


def _basket(p: Plane) -> Field:
    p = p.scale(0.6)
    fu, fv = p.local
    turned = (np.floor(p.u) + np.floor(p.v)) % 2 == 0
    along = np.where(turned, fu, fv) * 3
    return p.fill((np.abs(along - np.floor(along) - 0.5) - 0.25) / 3)


def _chevrons(p: Plane) -> Field:
    fu, fv = p.local
    return p.fill(np.abs(fu + 0.3 - np.abs(fv)) * 0.7 - 0.1)


def _pinwheels(p: Plane) -> Field:
    fu, fv = p.scale(0.6).local
    return clamp(0.5 + 1.5 * np.sin(4 * np.arctan2(fv, fu)))


def _interference(p: Plane) -> Field:
    angles = (0.0, _TAU / 3, 2 * _TAU / 3)
    total = sum((np.cos(_TAU * (np.cos(a) * p.u + np.sin(a) * p.v)) for a in angles), np.zeros_like(p.u))
    return np.asarray((total + 1.5) / 4.5, np.float32)


def _beads(p: Plane) -> Field:
    fu, fv = p.local
    return p.fill(np.minimum(np.hypot(fu, fv) - 0.26, np.abs(fu) - 0.06))


def _hooks(p: Plane) -> Field:
    fu, fv = p.local
    return p.fill(np.minimum(_box(fu + 0.2, fv, 0.1, 0.35), _box(fu, fv + 0.25, 0.3, 0.1)))


def _targets(p: Plane) -> Field:
    far = np.hypot(*p.local)
    return p.fill(np.minimum(far - 0.14, np.abs(far - 0.38) - 0.08))


def _stairs(p: Plane) -> Field:
    return _stripes(p.move(p.u + np.floor(p.v * 1.5) * 0.25, p.v))


def _stars(p: Plane) -> Field:
    fu, fv = p.local
    return p.fill((np.sqrt(np.abs(fu)) + np.sqrt(np.abs(fv)) - 0.68) * 0.5)


def _hatching(p: Plane) -> Field:
    q = p.move(p.u * 3, p.v * 0.8)
    return np.asarray(q.look_up(table=q.draw_table()) < 0.45, np.float32)


def _name_textures(*textures: Texture) -> Mapping[str, Texture]:
    return MappingProxyType({texture.__name__.lstrip("_"): texture for texture in textures})


NAMED = _name_textures(_stripes, _checks, _dots, _waves, _bricks, _cells, _grid)

FOREIGN = _name_textures(_zigzag, _rings, _dashes, _triangles, _hexagons, _plaid)

OTHER = _name_textures(
    _crosses,
    _squares,
    _frames,
    _scales,
    _arcs,
    _maze,
    _marble,
    _blobs,
    _speckle,
    _camouflage,
    _ramps,
    _pinstripes,
    _ribbons,
    _crescents,
    _halves,
    _ovals,
    _stones,
    _bubbles,
    _confetti,
    _tartan,
    _basket,
    _chevrons,
    _pinwheels,
    _interference,
    _beads,
    _hooks,
    _targets,
    _stairs,
    _stars,
    _hatching,
)

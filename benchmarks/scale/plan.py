"""What a job of so many images needs: files, bytes, memory and hours, from what was measured for one image."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Published nowhere and measured nowhere: a place for one's own number. Images a second of one GPU; GPUs; gigabits a
#: second of a machine's network.
ASSUMED_SPEED, ASSUMED_GPUS, ASSUMED_NETWORK = 200.0, 1000, 10.0
#: CPU stages of labelling an image beside its teacher.
LABELLING = ("decode", "resize", "write")


@dataclass(frozen=True)
class ImageCost:
    """Of one image: bytes of its file, of label and confidence and their place on the disk, of its line in the index
    and in memory; CPU seconds of labelling beside the teacher, of `data check`, of the look of `select`, of listing.
    """

    image: float
    label: float
    confidence: float
    disk: float
    line: float
    memory: float
    labelling: float
    check: float
    features: float
    listing: float

    @classmethod
    def of(cls, measured: Mapping[str, Any]) -> ImageCost:
        """Means over the sets of `docs/results/scale-stages.json`."""

        def mean(key: str) -> float:
            return statistics.fmean(row[key] for row in measured["sets"])

        def seconds(*stages: str) -> float:
            return statistics.fmean(sum(row["cpu_ms"][stage] for stage in stages) for row in measured["sets"]) / 1e3

        return cls(
            mean("image_bytes"),
            mean("label_bytes"),
            mean("confidence_bytes"),
            mean("disk_bytes"),
            mean("index_bytes"),
            measured["index"]["memory_bytes"] / measured["index"]["lines"],
            seconds(*LABELLING),
            seconds("check"),
            seconds("features"),
            measured["listing"]["cpu_s"] / measured["listing"]["files"],
        )


@dataclass(frozen=True)
class Plan:
    """Labelling of `images` images. speed: images a second of one GPU; gpus: of them at work; network: gigabits a
    second, of all machines together.
    """

    images: int
    cost: ImageCost
    speed: float = ASSUMED_SPEED
    gpus: int = ASSUMED_GPUS
    network: float = ASSUMED_NETWORK

    @property
    def files(self) -> int:
        """Files of images, labels and confidences: one each."""
        return 3 * self.images

    @property
    def gpu_hours(self) -> float:
        """Hours of one GPU."""
        return self.images / self.speed / 3600

    @property
    def cores(self) -> float:
        """Cores that keep one GPU busy."""
        return self.speed * self.cost.labelling

    def rows(self, price: float = 0.0) -> dict[str, str]:
        """What it needs, by name. price: of an hour of a GPU, in any currency."""
        cost, n = self.cost, self.images
        hours = {
            "one core lists the files": n * cost.listing,
            "one core labels, beside the teacher": n * cost.labelling,
            "one core: data check": n * cost.check,
            "one core: the look of select": n * cost.features,
            f"images over {self.network:g} Gbit/s": n * cost.image * 8 / (self.network * 1e9),
        }
        return {
            "files": format_count(self.files),
            "images": format_bytes(n * cost.image),
            "labels and confidences": format_bytes(n * (cost.label + cost.confidence)),
            "their place on the disk": format_bytes(n * cost.disk),
            "index": format_bytes(n * cost.line),
            "index in memory, of each process": format_bytes(n * cost.memory),
            **{name: format_time(seconds) for name, seconds in hours.items()},
            f"one GPU at {self.speed:g} images/s": format_time(self.gpu_hours * 3600),
            f"{self.gpus} GPUs": format_time(self.gpu_hours * 3600 / self.gpus),
            "cores to feed one GPU": f"{self.cores:.1f}",
            **({"price of the GPUs": f"{self.gpu_hours * price:,.2f}"} if price else {}),
        }


def format_count(number: float) -> str:
    """Like 3.0e6, or 3000 where it is short."""
    return f"{number:.0f}" if number < 1e5 else f"{number:.1e}".replace("e+0", "e")


def format_bytes(number: float) -> str:
    """Like 1.2 GB; powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} PB"


def format_time(seconds: float) -> str:
    """Like 3.2 h, with the unit that suits."""
    for unit, length in (("years", 86400 * 365.25), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.2g} s"

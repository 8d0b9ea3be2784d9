"""``semiovs doctor``: check this machine and propose the next commands."""

from __future__ import annotations

import importlib.metadata
import io
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import typer

from semiovs import env
from semiovs.cli.console import Json, format_table, log, report
from semiovs.cli.next_steps import format_next
from semiovs.errors import WeightsError

_WRITTEN = 16 * 2**20
#: Below this there is a warning: GiB of shared memory (a container's default is 1/16), GiB of disk, seconds of clocks.
_SHARED, _FREE, _CLOCK = 1.0, 5.0, 2.0
_OUR_OWN = frozenset({"all", "dev", "docs"})


@dataclass(frozen=True)
class Diagnosis:
    """One line of the report. status: ``fail`` (required), ``warn`` (something is slower or missing) or ``ok``."""

    name: str
    status: Literal["ok", "warn", "fail"]
    value: str
    advice: str = ""


def doctor(as_json: Json = False) -> None:
    """Check this machine: versions, GPU, cores, memory, decoder, disks, clock, weights, extras.

    The last lines are the next commands. Exit code 4 if something required is missing.
    """
    findings = [finding for check in CHECKS for finding in _run_check(check)]
    broken = [finding for finding in findings if finding.status == "fail"]
    steps = [broken[0].advice] if broken else ["semiovs demo", "# DIR: a folder of your own images: semiovs init DIR"]
    rows = [
        (f.status, f.name, f.value if f.status == "ok" or not f.advice else f"{f.value}; {f.advice}") for f in findings
    ]
    text = "\n".join([format_table(["", "what", "found"], rows), format_next(steps)])
    report({"findings": [asdict(f) for f in findings], "next": steps}, as_json=as_json, text=text)
    if broken:
        log(f"{len(broken)} of {len(findings)} checks failed")
        raise typer.Exit(WeightsError.exit_code)


def _run_check(check: Callable[[], Iterator[Diagnosis]]) -> Iterator[Diagnosis]:
    """Run one check; an exception becomes a line of the report."""
    try:
        yield from check()
    except Exception as error:
        name = check.__name__.strip("_")
        yield Diagnosis(name, "fail", f"{type(error).__name__}: {error}", "pip install --force-reinstall semiovs")


def _python() -> Iterator[Diagnosis]:
    from semiovs import __version__

    yield Diagnosis("semiovs", "ok", __version__)
    yield Diagnosis("python", "ok", platform.python_version())


def _packages() -> Iterator[Diagnosis]:
    for module, name in (
        ("torch", ""),
        ("torchvision", ""),
        ("timm", ""),
        ("PIL", "pillow"),
        ("cv2", "opencv-python-headless"),
    ):
        try:
            found = __import__(module)
        except Exception as error:
            package = name or module
            yield Diagnosis(package, "fail", f"does not import: {error}", f"pip install --upgrade {package}")
        else:
            yield Diagnosis(name or module, "ok", str(getattr(found, "__version__", "?")))


def _accelerator() -> Iterator[Diagnosis]:
    import torch

    from semiovs.models.device import is_there

    if not torch.cuda.is_available():
        for name, maker in (("mps", "Apple"), ("xpu", "Intel")):
            if is_there(name):
                yield Diagnosis("gpu", "ok", f"{maker} ({name}), for one process", "not yet tried by us")
                return
        capability = torch.backends.cpu.get_cpu_capability()
        yield Diagnosis("gpu", "warn", f"none; the CPU has {capability}", "training is slow here, start small")
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Diagnosis(f"gpu {index}", "ok", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    bf16 = torch.cuda.is_bf16_supported()
    yield Diagnosis(
        "bf16", "ok" if bf16 else "warn", "yes" if bf16 else "no", "" if bf16 else "use train.precision=fp16"
    )


def _machine() -> Iterator[Diagnosis]:
    from semiovs.data.machine_limits import count_cores, find_cpu_limit

    cores, limit = count_cores(), find_cpu_limit()
    allowed = "" if limit is None else f", of whose time this container gets {limit:g} cores (cgroup)"
    yield Diagnosis("cores", "ok", f"{cores} usable{allowed}")
    yield _judge_threads(os.environ.get("OMP_NUM_THREADS"), cores, limit)
    if hasattr(os, "sysconf"):
        yield Diagnosis("memory", "ok", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB")


def _judge_threads(asked: str | None, cores: int, limit: float | None) -> Diagnosis:
    """Threads of each process (`OMP_NUM_THREADS`) against the cores that it gets."""
    most = cores if limit is None else max(1, min(cores, int(limit)))
    told = f"OMP_NUM_THREADS={asked}" if asked else "OMP_NUM_THREADS is not set, so one for each core"
    threads = int(asked) if asked and asked.isdecimal() else cores
    if threads > most:
        return Diagnosis("threads", "warn", f"{told}: more than {most} cores' worth", f"set OMP_NUM_THREADS={most}")
    if threads < most:
        advice = "unset OMP_NUM_THREADS, unless several processes share the machine"
        return Diagnosis("threads", "warn", f"{told}: {threads} of {most} cores", advice)
    return Diagnosis("threads", "ok", told)


def _shared_memory() -> Iterator[Diagnosis]:
    from semiovs.data.machine_limits import SHARED, SHARED_ADVICE, measure_shared_memory

    if (measured := measure_shared_memory()) is not None:
        size, free = (number / 2**30 for number in measured)
        small = free < _SHARED
        told = f"{SHARED}: {free:.2f} of {size:.2f} GiB free"
        yield Diagnosis("shared memory", "warn" if small else "ok", told, SHARED_ADVICE if small else "")


def _folder() -> Iterator[Diagnosis]:
    """The current folder, into which runs go: its disk, and whether its clock is that of this machine."""
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    full = free < _FREE
    advice = "a run keeps several checkpoints; clear some, or set run.dir to another disk" if full else ""
    yield Diagnosis("disk", "warn" if full else "ok", f"{free:.1f} GiB free in the current folder", advice)
    file = Path(f".clock-{uuid.uuid4().hex}")
    try:
        file.write_bytes(b"")
        off = file.stat().st_mtime - time.time()
    except OSError as error:
        what = f"the current folder cannot be written: {error.strerror}"
        yield Diagnosis("clock", "warn", what, "runs go below it, unless run.dir names another place")
        return
    finally:
        file.unlink(missing_ok=True)
    yield _judge_clock(off)


def _judge_clock(off: float) -> Diagnosis:
    """off: seconds by which the time of a file just written is ahead of the clock of this machine."""
    if abs(off) <= _CLOCK:
        return Diagnosis("clock", "ok", "files get the time of this machine")
    what = f"files get a time that is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} this machine's"
    return Diagnosis("clock", "warn", what, "set both clocks (NTP): what is newer is not certain")


def _decoder() -> Iterator[Diagnosis]:
    """Compare the JPEG decoders of torchvision and Pillow, which should agree bit for bit."""
    import numpy as np
    import torch
    from PIL import Image
    from torchvision.io import ImageReadMode, decode_image

    picture = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    ours = decode_image(torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8), ImageReadMode.RGB)
    theirs = np.asarray(Image.open(buffer).convert("RGB")).astype(int)
    off = int(abs(ours.permute(1, 2, 0).numpy().astype(int) - theirs).max())
    value = "torchvision and Pillow agree" if not off else f"torchvision and Pillow differ by up to {off} of 255"
    yield Diagnosis(
        "jpeg decoder", "warn" if off else "ok", value, "results may differ in the last digit" if off else ""
    )


def _cache() -> Iterator[Diagnosis]:
    folder = env.cache_dir()
    file = folder / f".speed-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        with file.open("wb") as stream:
            stream.write(os.urandom(_WRITTEN))
            stream.flush()
            os.fsync(stream.fileno())
        speed = _WRITTEN / 1e6 / (time.perf_counter() - start)
    except OSError as error:
        yield Diagnosis("cache", "warn", f"{folder}: {error.strerror}", "set SEMIOVS_CACHE to a folder you may write")
        return
    finally:
        file.unlink(missing_ok=True)
    slow = speed < 20
    yield Diagnosis(
        "cache",
        "warn" if slow else "ok",
        f"{folder}: writes {speed:.0f} MB/s",
        "set SEMIOVS_CACHE to a local disk" if slow else "",
    )


def _weights() -> Iterator[Diagnosis]:
    folder = env.weights_dir()
    files = (
        [p for p in folder.rglob("*") if p.suffix in {".safetensors", ".pth", ".pt", ".bin"}] if folder.is_dir() else []
    )
    yield Diagnosis("weights", "ok", f"{len(files)} file(s) in {folder}")
    offline = env.explain_offline()
    yield Diagnosis(
        "hub",
        "warn" if offline else "ok",
        f"{offline}: weights come from caches and files"
        if offline
        else f"cache in {os.environ.get('HF_HOME', Path.home() / '.cache' / 'huggingface')}",
    )


def _extras() -> Iterator[Diagnosis]:
    for extra, packages in sorted(_declared_extras().items()):
        missing = [package for package in packages if not _installed(package)]
        advice = f"pip install 'semiovs[{extra}]' if you want it" if missing else ""
        yield Diagnosis(
            f"extra {extra}",
            "warn" if missing else "ok",
            f"without {', '.join(missing)}" if missing else "installed",
            advice,
        )


def _declared_extras() -> dict[str, list[str]]:
    """Extra -> packages, from the metadata of the installed distribution; developers' extras are left out."""
    extras: dict[str, list[str]] = {}
    for requirement in importlib.metadata.requires("semiovs") or []:
        match = re.match(r"\s*([\w.-]+).*;.*extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        if match and match[2] not in _OUR_OWN:
            extras.setdefault(match[2], []).append(match[1])
    return extras


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


CHECKS: tuple[Callable[[], Iterator[Diagnosis]], ...] = (
    _python,
    _packages,
    _accelerator,
    _machine,
    _shared_memory,
    _folder,
    _decoder,
    _cache,
    _weights,
    _extras,
)

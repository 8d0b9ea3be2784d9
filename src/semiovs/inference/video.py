"""Segment the frames of a video, by `av` (extra `video`): a video of class ids without loss, and an overlay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semiovs.errors import DataError, MissingExtraError, UsageError, about, is_out_of_memory, require_memory
from semiovs.evaluation.memory_fallback import ADVICE
from semiovs.files import sync_directory, temporary_beside
from semiovs.images.image import open_file
from semiovs.images.overlay import overlay
from semiovs.inference.predictor import Predictor

#: Kind -> ending, codecs by preference, and the pixel format that they are given.
_FILES = {
    "ids": ("_mask.mkv", ("ffv1",), "gray"),
    "overlay": ("_overlay.mp4", ("libx264", "mpeg4"), "yuv420p"),
}


@dataclass(frozen=True)
class _Input:
    """An open video. frames: its number where the file tells it, else what its duration says, else 0."""

    width: int
    height: int
    rate: Any
    frames: int
    images: Iterator[NDArray[np.uint8]]


def video_files(video: Path, out: Path, kinds: Sequence[str]) -> dict[str, Path]:
    """Kind -> file of the results of a video: `ids`, `overlay`.

    Raises:
        UsageError: neither is asked for.
    """
    found = {kind: out / f"{video.stem}{_FILES[kind][0]}" for kind in _FILES if kind in kinds}
    if not found:
        raise UsageError(f"{video}: of a video, ids and overlay can be written (--save)")
    return found


def predict_video(
    video: Path,
    out: Path,
    predictor: Predictor,
    kinds: Sequence[str],
    *,
    smooth: float = 0.0,
    batch: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Segment each frame of a video, and write videos of the same size and (mean) frame rate, without sound.

    smooth: s_t = smooth * s_(t-1) + (1 - smooth) * p_t, the mean of the scores p of which labels are taken; batch:
    frames that go through the model together. No more than a batch of frames is held.

    Raises:
        DataError: no video, or damaged; MissingExtraError: no av; ResourcesError: out of memory.
    """
    files = video_files(video, out, kinds)
    colors, names = predictor.vocabulary.shown_colors, predictor.vocabulary.names
    with ExitStack() as stack, require_memory(str(video), ADVICE), about(video):
        given = stack.enter_context(_open_video(video))
        counts, done = np.zeros(256, np.int64), 0
        put: dict[str, Callable[[NDArray[np.uint8]], None]] = {}
        for image, labels in _label_frames(given.images, predictor, str(video), smooth, batch):
            if not put:  # nothing is written of what cannot be read
                put = {kind: stack.enter_context(_write_video(path, given, kind)) for kind, path in files.items()}
            if "ids" in put:
                put["ids"](labels)
            if "overlay" in put:
                put["overlay"](np.asarray(overlay(Image.fromarray(image), labels, colors=colors)))
            counts += np.bincount(labels.ravel(), minlength=256)
            done += 1
            progress(done, max(given.frames, done))
        if not done:
            raise DataError("holds no frame that can be decoded")
        classes = {name: round(float(counts[i] / counts.sum()), 4) for i, name in enumerate(names) if counts[i]}
    size, rate = [given.height, given.width], float(given.rate)
    return {
        "image": str(video),
        **{k: str(f) for k, f in files.items()},
        "size": size,
        "rate": rate,
        "frames": done,
        "classes": classes,
    }


def _label_frames(
    images: Iterator[NDArray[np.uint8]], predictor: Predictor, where: str, smooth: float, batch: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Frames with their labels."""
    mean: Tensor | None = None
    while chunk := list(islice(images, batch)):
        if not smooth:
            read = [(where, *predictor.read(image)) for image in chunk]
            yield from zip(chunk, (found.labels for found in predictor.predict_read(read)), strict=True)
            continue
        for image in chunk:
            scores = predictor.score(predictor.read(image)[0], where)
            mean = scores if mean is None else mean.mul_(smooth).add_(scores, alpha=1 - smooth)
            confidence, labels = mean.max(dim=0)
            labels[confidence == 0] = 255  # outside of a centre crop
            yield image, labels.to(torch.uint8).numpy()


@contextmanager
def _open_video(path: Path) -> Iterator[_Input]:
    av = _import_av(path)
    if not path.is_file():
        raise DataError("no such file")
    with _refusing(av), open_file(path) as file, av.open(file) as container:
        if not container.streams.video:
            raise DataError("holds no video")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        frames = _turn_frames(av, container, stream)
        first = next(frames, None)
        if first is None:
            raise DataError("holds no frame that can be decoded")
        rate = stream.average_rate or stream.guessed_rate or 25
        seconds = (container.duration or 0) / 1e6
        known = stream.frames or round(seconds * float(rate))
        yield _Input(first.shape[1], first.shape[0], rate, known, _chain(first, frames))


def _chain(first: NDArray[np.uint8], others: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    yield first
    for image in others:
        if image.shape != first.shape:
            raise DataError(f"its frames change from {first.shape[1]}x{first.shape[0]} to another size; cut it there")
        yield image


def _turn_frames(av: Any, container: Any, stream: Any) -> Iterator[NDArray[np.uint8]]:
    """RGB frames (H, W, 3) as a player shows them."""
    with _refusing(av):
        for frame in container.decode(stream):
            image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
            turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
            yield np.ascontiguousarray(np.rot90(image, turns)) if turns else image


@contextmanager
def _write_video(path: Path, given: _Input, kind: str) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Gives the function that adds a frame; the file has its name once all is written."""
    av = _import_av(path)
    _, codecs, form = _FILES[kind]
    codec = next((name for name in codecs if name in av.codecs_available), codecs[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with av.open(str(temporary), "w", format={".mkv": "matroska", ".mp4": "mp4"}[path.suffix]) as container:
            stream = container.add_stream(codec, rate=given.rate)
            stream.width, stream.height = given.width, given.height
            odd = given.width % 2 or given.height % 2
            stream.pix_fmt = "yuv444p" if codec == "libx264" and odd else form
            if codec == "libx264":
                stream.options = {"crf": "20", "preset": "veryfast"}

            def put(image: NDArray[np.uint8]) -> None:
                frame = av.VideoFrame.from_ndarray(image, format="gray" if image.ndim == 2 else "rgb24")
                container.mux(stream.encode(frame))

            yield put
            container.mux(stream.encode(None))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


@contextmanager
def _refusing(av: Any) -> Iterator[None]:
    """Errors of the decoder as DataErrors; those of the body that are none of its stay what they are."""
    try:
        yield
    except av.error.FFmpegError as error:
        if is_out_of_memory(error):
            raise
        raise DataError(f"cannot be read as a video: {error.strerror or error}") from None


def _import_av(path: Path) -> Any:
    try:
        import av
    except ImportError:
        raise MissingExtraError(f"{path}: videos are read by av: pip install 'semiovs[video]'") from None
    return av

"""Images that do not fit into memory as a whole go through a model in windows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from semiovs.errors import ResourcesError, SemiovsWarning, is_out_of_memory

T = TypeVar("T")

#: Sides of the windows that are tried, one after the other; larger ones are slower on a CPU.
WINDOWS = (1024, 512, 256, 128)
#: Pixels that neighbouring windows share, at most a quarter: a third, as `eval.stride` has it, takes twice as long.
_SHARED = 128
#: What helps where an image does not fit into memory in any way.
ADVICE = "take eval.mode=sliding with a smaller eval.window, a machine with more memory, or cut the picture into tiles"


class MemoryFallback:
    """Sends images through a model as told; one that does not fit as a whole in the largest windows that fit.

    through: options of `tiling.predict_logits`; any mode but `whole` is left as it is. What did not fit is not tried
    again for images as large, and told once as a warning. windowed: how many images went through in windows.
    """

    def __init__(self, through: Mapping[str, Any], device: torch.device | str) -> None:
        self._through, self._cuda = dict(through), torch.device(device).type == "cuda"
        self.windowed = 0
        self._limit = math.inf  # images of as many pixels do not fit as a whole
        self._windows: tuple[int, ...] = WINDOWS
        self._told: tuple[int, ...] = ()

    def run(self, size: tuple[int, int], where: str, attempt: Callable[[dict[str, Any]], T]) -> T:
        """What `attempt` makes of an image of `size` (width, height) with options of `predict_logits`; it may be called
        again, with others.

        Raises:
            ResourcesError: it does not fit, not even in windows.
        """
        whole = self._through["mode"] == "whole"
        if not whole or size[0] * size[1] < self._limit:
            try:
                return attempt(self._through)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            if not whole:
                raise self._make_error(size, where, fits=self._find_fitting(attempt))
        self._limit = min(self._limit, size[0] * size[1])  # behind the except block, which kept all tensors alive
        return self._run_in_windows(size, where, attempt)

    def _find_fitting(self, attempt: Callable[[dict[str, Any]], T]) -> int | None:
        """The largest of `WINDOWS` below the window that was asked for in which the image goes through; None: none."""
        for window in (each for each in WINDOWS if each < (self._through.get("window") or 0)):
            try:
                attempt({**self._through, "window": window, "stride": None})
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                continue
            return window
        return None

    def _run_in_windows(self, size: tuple[int, int], where: str, attempt: Callable[[dict[str, Any]], T]) -> T:
        for number, window in enumerate(self._windows):
            if window >= max(size):
                continue
            if self._cuda:
                torch.cuda.empty_cache()
            stride = window - min(_SHARED, window // 4)
            try:
                found = attempt({**self._through, "mode": "sliding", "window": window, "stride": stride})
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                continue
            self._windows = self._windows[number:]
            self.windowed += 1
            if self._windows != self._told:
                text = (
                    f"{where}: {size[0]}x{size[1]} pixels do not fit into memory as a whole: pictures of this size are "
                    f"predicted in windows of {window} (eval.mode=sliding eval.window={window} eval.stride={stride})"
                )
                warnings.warn(text, SemiovsWarning, stacklevel=2)
            self._told = self._windows
            return found
        raise self._make_error(size, where, ", even in windows")

    def _make_error(self, size: tuple[int, int], where: str, how: str = "", fits: int | None = None) -> ResourcesError:
        advice = ADVICE if fits is None else f"eval.mode=sliding eval.window={fits} fits"
        return ResourcesError(f"{where}: {size[0]}x{size[1]} pixels: out of memory{how}; {advice}")

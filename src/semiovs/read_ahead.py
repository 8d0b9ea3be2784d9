"""Compute the next results ahead in threads: results in order, memory bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    items: Iterable[Item],
    function: Callable[[Item], Result],
    *,
    threads: int,
    least: int = 1,
    limit: int | None = None,
    size: Callable[[Result], int] = lambda _: 0,
) -> Generator[Result, None, None]:
    """Yield the results of `function` in the order of `items`; while one is used, `threads` threads compute the next
    ones.

    At most `2 * threads` results wait (or `least`, if that is more), and `items` is read no further. Closing the
    generator cancels work that has not started and waits for work that has.

    limit: largest sum of `size` of the waiting results, such as bytes; unfinished results count as the largest so far.
    least: number of results that may wait whatever their size.

    Raises:
        Exception: what `function` raises, in its place in the order.
    """
    source, waiting, largest = iter(items), deque[Future[Result]](), limit or 0

    def room() -> bool:
        if len(waiting) < least or limit is None:
            return len(waiting) < max(least, 2 * threads)
        return len(waiting) < 2 * threads and sum(_size(future, size, largest) for future in waiting) < limit

    with ThreadPoolExecutor(threads, thread_name_prefix="read") as pool:

        def start() -> None:
            while room():
                for item in source:
                    waiting.append(pool.submit(function, item))
                    break
                else:
                    return

        try:
            start()
            while waiting:
                first = waiting.popleft()
                start()
                result = first.result()
                largest = size(result) if largest == limit else max(largest, size(result))
                yield result
        finally:
            for future in waiting:
                future.cancel()


def _size(future: Future[Result], size: Callable[[Result], int], largest: int) -> int:
    return size(future.result()) if future.done() and future.exception() is None else largest

"""Work on the next items while one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

SPARE = 1
"""Items that lie ready for the next free thread."""


def made_ahead(
    work: Callable[[Item], Result], items: Iterable[Item], workers: Callable[[Item], int]
) -> Iterator[tuple[Item, Result]]:
    """Items in turn, each with what is made of it.

    PyTorch's threads wait for each other after every step of a network. Pictures side by side, each on one
    thread, do not.

    Args:
        work: done in threads, which share PyTorch's.
        items: taken one at a time, ``workers`` and ``SPARE`` ahead of the one that is used.
        workers: how many threads are to work, by the first item; at least 1 do.
    """
    rest = iter(items)
    first = next(rest, None)
    if first is None:
        return
    count = max(1, workers(first))
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, "paint", torch.set_num_threads, (max(1, threads // count),))
    coming: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in chain([first], rest):
            coming.append((item, pool.submit(work, item)))
            if len(coming) > count + SPARE:
                done, result = coming.popleft()
                yield done, result.result()
        while coming:
            done, result = coming.popleft()
            yield done, result.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # new threads would take the number of the last

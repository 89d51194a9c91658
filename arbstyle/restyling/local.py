"""Parts on the cores of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

import torch

from arbstyle.devices import choose_device
from arbstyle.errors import ArbstyleError
from arbstyle.memory import available_cores

Task = TypeVar("Task")
Answer = TypeVar("Answer")

Make = Callable[[], Callable[[Task], Answer]]
"""Constructs a worker in its process; it must be picklable."""

MAX_DEATHS = 5
"""Workers that may die one after the other without one part done between."""

GPU_WORKERS = 4
"""Processes that share a GPU: while one computes, the others read and write."""


class Engine(Protocol):
    """Runs tasks, somewhere."""

    def device(self, wanted: str) -> str:
        """Where its workers compute, for a device that may be ``auto``."""
        ...

    def run(self, make: Make[Task, Answer], tasks: Sequence[Task], device: str) -> Iterator[Answer]:
        """Answers in any order; a worker that dies costs time, an ArbstyleError in one ends the run."""
        ...


@dataclass(frozen=True)
class LocalEngine:
    """Processes of one thread each: as many are faster than one of as many threads.

    A picture's bits depend on the number of threads that paint it, so that number is 1 in every engine.

    Attributes:
        workers: processes; ``None`` is one for each core. 1 works in the calling process.
    """

    workers: int | None = None

    def device(self, wanted: str) -> str:
        """Raises an ArbstyleError for a device that is not there."""
        return str(choose_device(wanted))

    def run(self, make: Make[Task, Answer], tasks: Sequence[Task], device: str) -> Iterator[Answer]:
        """See :class:`Engine`."""
        workers = self.workers or (GPU_WORKERS if device.startswith("cuda") else available_cores())
        if workers == 1:
            with one_thread():
                worker = make()
                yield from map(worker, tasks)
        else:
            yield from _run_in_pools(make, tasks, min(workers, max(1, len(tasks))))


def _run_in_pools(make: Make[Task, Answer], tasks: Sequence[Task], workers: int) -> Iterator[Answer]:
    """The standard pool is broken for good when a worker is killed; then another one takes over its tasks."""
    waiting = list(reversed(tasks))
    deaths = 0
    while waiting:
        with _Pool(make, workers) as pool:
            running: dict[Future[Answer], Task] = {}
            try:
                while waiting or running:
                    while waiting and len(running) < 2 * workers:
                        task = waiting.pop()
                        running[pool.submit(task)] = task
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        answer = future.result()
                        del running[future]
                        deaths = 0
                        yield answer
            except BrokenProcessPool as error:
                waiting += running.values()
                deaths += 1
                if deaths == MAX_DEATHS:
                    raise ArbstyleError(
                        f"worker processes died {deaths} times, and no part was done between; is there "
                        "enough memory? Go on with fewer --workers, and --resume"
                    ) from error


class _Pool:
    """Worker processes that end with this one, however it ends."""

    def __init__(self, make: Make[Any, Any], workers: int) -> None:
        # Not forked: a forked process that uses its parent's OpenMP threads hangs.
        context = multiprocessing.get_context("spawn")
        reader, self._writer = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_start, initargs=(make, reader)
        )

    def submit(self, task: Any) -> Future[Any]:
        return self._executor.submit(_work, task)

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._writer.close()  # ends the workers in the middle of what they do
        self._executor.shutdown(wait=True)


_worker: Callable[[Any], Any]


def _start(make: Make[Any, Any], lifeline: Connection) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one decides
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    torch.set_num_threads(1)
    _worker = make()


def _end_with(lifeline: Connection) -> None:
    """Its other end closes with the process that holds it, even one that is killed."""
    try:
        lifeline.recv()
    except (EOFError, OSError):
        os._exit(0)


def _work(task: Any) -> Any:
    return _worker(task)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Parts on any number of machines, by Ray Data: it places, retries and restarts; we hand out parts."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.restyling.local import Answer, Make, Task

OBJECT_STORE = 2**28
"""Bytes for what passes between processes here: names and counts. Pictures go by way of the shared folder."""


@dataclass(frozen=True)
class RayEngine:
    """A pool of Ray actors, one a core or one a GPU.

    Attributes:
        address: of a running cluster, as ``ray start`` prints it, or ``auto``; "" starts Ray on this machine.
        workers: actors; ``None`` is one for each core or GPU of the cluster.
    """

    address: str = ""
    workers: int | None = None

    def device(self, wanted: str) -> str:
        """``auto`` is a GPU where the cluster has any."""
        if wanted != "auto":
            return wanted
        return "cuda" if self._connect().cluster_resources().get("GPU", 0) >= 1 else "cpu"

    def run(self, make: Make[Task, Answer], tasks: Sequence[Task], device: str) -> Iterator[Answer]:
        """See :class:`~arbstyle.restyling.local.Engine`."""
        if not tasks:
            return
        ray = self._connect()
        resource = "GPU" if device.startswith("cuda") else "CPU"
        actors = self.workers or int(ray.cluster_resources().get(resource, 1))
        actors = max(1, min(actors, len(tasks)))
        # A block a task, so that a killed actor costs one.
        rows = ray.data.from_items(
            [{"pickled": pickle.dumps(task)} for task in tasks], override_num_blocks=len(tasks)
        )
        answers = rows.map_batches(
            _Actor,
            fn_constructor_args=(make,),
            batch_size=1,
            batch_format="numpy",
            num_cpus=1,
            num_gpus=1 if resource == "GPU" else 0,
            # Fewer will do while a machine is missing.
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
        )
        try:
            for row in answers.iter_rows():
                answer = pickle.loads(row["pickled"])
                if isinstance(answer, ArbstyleError):
                    raise answer
                yield answer
        except ray.exceptions.RayError as error:
            raise ArbstyleError(f"Ray gave up: {_last_line(error)}") from error

    def _connect(self) -> Any:
        """Ray, connected for the rest of this process; it is Ray's habit to disconnect at its end."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise ArbstyleError("the Ray engine needs Ray: pip install 'arbstyle[ray]'") from error
        if ray.is_initialized():
            return ray
        settings: dict[str, Any] = {"address": self.address}
        if not self.address:
            settings = {
                "address": "local",
                "num_cpus": self.workers,
                "object_store_memory": OBJECT_STORE,
                "include_dashboard": False,
            }
        try:
            with _sigterm_kept():
                ray.init(logging_level=logging.ERROR, log_to_driver=False, **settings)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = f"at '{self.address}'" if self.address else "on this machine"
            raise ArbstyleError(f"cannot reach or start Ray {where}: {reason_of(error)}") from error
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        ray.data.DataContext.get_current().enable_progress_bars = False
        return ray


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """``ray.init`` takes SIGTERM for itself; whoever had it needs it back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


class _Actor:
    """A worker that lives as long as its actor."""

    def __init__(self, make: Make[Any, Any]) -> None:
        torch.set_num_threads(1)
        self.worker = make()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"pickled": [pickle.dumps(self._answer(pickle.loads(task))) for task in batch["pickled"]]}

    def _answer(self, task: Any) -> Any:
        try:
            return self.worker(task)
        except ArbstyleError as error:  # raised, Ray would wrap it and log it at length
            return error


def _last_line(error: BaseException) -> str:
    """Ray's errors quote a whole traceback; what happened stands at its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__

"""Processes that load pictures."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")

SIGTERM_GRACE_SECONDS = 60


def worker_options(num_workers: int, prefetch: int = 2) -> dict[str, Any]:
    """``DataLoader`` arguments for workers that neither deadlock nor die before the last checkpoint."""
    if num_workers == 0:
        return {}
    return {
        "num_workers": num_workers,
        "prefetch_factor": prefetch,
        "persistent_workers": True,
        "worker_init_fn": _prepare_worker,
        # Forked workers share the memory of decoded pictures. Only Linux forks safely.
        "multiprocessing_context": multiprocessing.get_context("fork") if sys.platform == "linux" else None,
    }


def _prepare_worker(_: int) -> None:
    # A forked process that uses its parent's OpenMP threads hangs; and the workers are the parallelism.
    torch.set_num_threads(1)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all processes; training decides when to stop
    if hasattr(signal, "SIGALRM"):
        # A job's SIGTERM or SIGHUP reaches all its processes at once, but training needs batches until it has
        # saved its last checkpoint. So the workers outlive the signal for a while.
        for sign in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(sign) is not signal.SIG_IGN:
                signal.signal(sign, lambda *_: signal.alarm(SIGTERM_GRACE_SECONDS))


def unchanged(item: Item) -> Item:
    """The ``collate_fn`` for what is a batch, or is to stay single, already."""
    return item

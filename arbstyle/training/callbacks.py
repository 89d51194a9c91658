"""Callbacks of a run: its speed, and its checkpoints."""

from __future__ import annotations

import io
import logging
import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from arbstyle.devices import peak_memory_mib
from arbstyle.errors import ArbstyleError
from arbstyle.images import atomic_path
from arbstyle.training.batches import StyleBatch
from arbstyle.training.loggers import ForgivingWandbLogger

logger = logging.getLogger(__name__)


STEPS_BETWEEN_CLOCKS = 10
"""Steps of several processes between two looks at the first one's clock."""


def logging_interval(trainer: Any) -> int:
    return trainer.log_every_n_steps


class Speed(pl.Callback):
    """Logs images a second, what part of the time went into waiting for data, and peak memory.

    The time of validation is not counted.
    """

    def __init__(self) -> None:
        self._restart()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restart(trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._idle_since = time.monotonic()
        self._began += self._idle_since - self._paused

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._paused = time.monotonic()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: StyleBatch, batch_idx: int
    ) -> None:
        self._waited += time.monotonic() - self._idle_since

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: StyleBatch,
        batch_idx: int,
    ) -> None:
        self._images += len(batch.content) * trainer.world_size
        self._idle_since = now = time.monotonic()
        if trainer.global_step == self._step or trainer.global_step % logging_interval(trainer):
            return
        pl_module.log("train/images_per_second", self._images / (now - self._began))
        pl_module.log("train/waiting_for_data", self._waited / (now - self._began))
        pl_module.log("train/peak_memory_mib", peak_memory_mib(pl_module.device) or math.nan)
        self._restart(trainer.global_step)

    def _restart(self, step: int = 0) -> None:
        self._step, self._images, self._waited = step, 0, 0.0
        self._began = self._idle_since = self._paused = time.monotonic()


class Checkpoints(Checkpoint):
    """``last.ckpt`` every few minutes, at the end and when the run is told to stop; ``best.ckpt`` beside it.

    Ctrl-C stops the run at the end of a step, as SIGTERM and SIGHUP do: within one, some weights are new and
    others old. Several processes stop at the end of the same step, whichever of them was told. A second
    Ctrl-C stops the run at once and leaves ``last.ckpt`` as it is.

    Args:
        directory: folder; default: ``checkpoints`` in the run's folder.
        every_minutes: time between two of ``last.ckpt``.
        every_steps: optimiser steps between two of ``last.ckpt``, in place of a time.
        keep_best: keep the checkpoint with the lowest validation loss, too.
        upload_best: at the end of training, hand ``best.ckpt`` to wandb as an artifact.
    """

    def __init__(
        self,
        directory: str | None = None,
        every_minutes: float = 5.0,
        every_steps: int | None = None,
        keep_best: bool = True,
        upload_best: bool = False,
    ) -> None:
        if every_minutes <= 0 or (every_steps is not None and every_steps < 1):
            raise ArbstyleError(
                "expected checkpoint.every_minutes above 0 and checkpoint.every_steps of at least 1, got "
                f"{every_minutes} and {every_steps}"
            )
        self.directory = directory
        self.every_minutes = every_minutes
        self.every_steps = every_steps
        self.keep_best: bool = keep_best or upload_best
        self.upload_best = upload_best
        self.best_loss = math.inf
        self._judged_by: str | None = None
        self.last_written: Path | None = None
        self._step = self._first_step = 0
        self._saved_at = math.inf
        self._interrupted = False
        self._ended_by: int | None = None
        self._earlier_handlers: dict[signal.Signals, Any] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        directory = self.directory or str(Path(trainer.default_root_dir) / "checkpoints")
        self.directory = trainer.strategy.broadcast(directory)
        self._judged_by = repr(getattr(pl_module, "loss_settings", None))
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = self._first_step = trainer.global_step
        self._saved_at = time.monotonic()
        if threading.current_thread() is not threading.main_thread():
            return
        self._listen(signal.SIGINT, self._interrupt)
        if trainer.world_size > 1:
            # Lightning's own handler waits for the other processes, which may be within another step.
            self._listen(signal.SIGTERM, self._end)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            self._listen(signal.SIGHUP, self._end)

    def _listen(self, sign: signal.Signals, handler: Callable[..., None]) -> None:
        self._earlier_handlers[sign] = signal.signal(sign, handler)

    def _end(self, number: int, *_: Any) -> None:
        self._ended_by = number

    def _interrupt(self, *_: Any) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        logger.info("stopping at the end of this step; Ctrl-C again stops at once, without saving")

    def _stop_listening(self) -> None:
        while self._earlier_handlers:
            signal.signal(*self._earlier_handlers.popitem())

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self._step:  # more batches are needed for a step
            return
        self._step = trainer.global_step
        if self._is_due_everywhere(trainer):
            self._save(trainer, "last.ckpt")
            self._saved_at = time.monotonic()
        if trainer.world_size > 1:
            # One that stopped by itself would leave the others waiting for its gradients.
            told = self._interrupted or self._ended_by is not None
            if trainer.strategy.reduce_boolean_decision(told, all=False):
                raise SIGTERMException
        elif self._interrupted or self._ended_by is not None:
            signal.raise_signal(signal.SIGTERM)  # Lightning stops on it where a step is over and logged

    def _is_due_everywhere(self, trainer: pl.Trainer) -> bool:
        if self.every_steps is not None:
            return self._step % self.every_steps == 0
        if trainer.world_size > 1 and self._step % STEPS_BETWEEN_CLOCKS:
            return False  # asking the first process is a wait for all
        due = time.monotonic() - self._saved_at >= 60 * self.every_minutes
        return trainer.strategy.broadcast(due)  # clocks differ

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.keep_best or trainer.sanity_checking or "val/total" not in trainer.callback_metrics:
            return
        loss = trainer.strategy.broadcast(float(trainer.callback_metrics["val/total"]))
        if trainer.state.fn == "fit" and loss < self.best_loss:
            self.best_loss = loss
            self._save(trainer, "best.ckpt")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_listening()
        self._save(trainer, "last.ckpt")
        best = Path(self.directory or ".") / "best.ckpt"
        if self.upload_best and best.is_file() and trainer.is_global_zero:
            for each in trainer.loggers:
                if isinstance(each, ForgivingWandbLogger):
                    each.log_checkpoint(best, {"val/total": self.best_loss, "steps": trainer.global_step})

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._stop_listening()
        if not isinstance(exception, SIGTERMException):
            return  # after a failure, or in the middle of a step, the last good checkpoint must stay
        exception.code = 128 + (signal.SIGINT if self._interrupted else self._ended_by or signal.SIGTERM)
        if trainer.state.fn == "fit" and trainer.global_step > self._first_step:
            path = self._save(trainer, "last.ckpt")
            logger.info("stopped at step %d; go on with --ckpt_path %s", trainer.global_step, path)

    def _save(self, trainer: pl.Trainer, name: str) -> Path:
        path = Path(self.directory or ".") / name
        trainer.save_checkpoint(path)
        self.last_written = path
        return path

    def state_dict(self) -> dict[str, Any]:
        return {"best_loss": self.best_loss, "judged_by": self._judged_by}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Losses of other settings do not compare: then the best is sought anew.
        if state_dict.get("judged_by", self._judged_by) == self._judged_by:
            self.best_loss = state_dict["best_loss"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the file that it then replaces: a run killed at any moment leaves a whole one.

    Lightning's own temporary file may be on another disk, from which it is not moved in one go.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        # In memory first: straight to a full disk, torch.save tells of positions in its archive.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with atomic_path(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())

"""Loggers: curves as CSV always, wandb where it works, pictures."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from arbstyle.errors import reason_of
from arbstyle.images import write_image

logger = logging.getLogger(__name__)


def default_loggers(directory: str | Path, name: str | None = None) -> list[Logger]:
    """CSV always; wandb beside it where it works: online with an account, offline without.

    Never asks for anything, and never fails because of wandb.
    """
    Path(directory).mkdir(parents=True, exist_ok=True)
    _keep_earlier_curves(Path(directory))
    # Written with every row: what a killed run has logged stays.
    loggers: list[Logger] = [CSVLogger(str(directory), name="", version="", flush_logs_every_n_steps=1)]
    if os.environ.get("WANDB_MODE") == "disabled" or importlib.util.find_spec("wandb") is None:
        return loggers
    try:
        wandb_logger = ForgivingWandbLogger(
            project="arbstyle", name=name, save_dir=str(directory), offline=not _wandb_configured()
        )
        _ = wandb_logger.experiment  # starts the run, where anything that is broken shows
        loggers.append(wandb_logger)
    except Exception as error:  # whatever is wrong with wandb, training matters more
        logger.warning("wandb can't be used (%s); logging to CSV only", reason_of(error, 200))
    return loggers


class ForgivingWandbLogger(WandbLogger):
    """Whatever goes wrong with wandb during training is said once, and training goes on without it."""

    broken = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._attempt(lambda: super(ForgivingWandbLogger, self).log_metrics(metrics, step))

    def log_hyperparams(self, params: Any) -> None:
        self._attempt(lambda: super(ForgivingWandbLogger, self).log_hyperparams(params))

    def log_picture(self, name: str, path: Path, step: int) -> None:
        """Log a picture file."""
        self._attempt(lambda: self.log_image(name, [str(path)], step=step))

    def log_checkpoint(self, path: Path, facts: dict[str, Any]) -> None:
        """Log a checkpoint file as an artifact."""

        def upload() -> None:
            import wandb

            artifact = wandb.Artifact(f"checkpoint-{self.experiment.id}", type="model", metadata=facts)
            artifact.add_file(str(path))
            self.experiment.log_artifact(artifact, aliases=["best"])

        self._attempt(upload)

    def finalize(self, status: str) -> None:
        """End the run, so that the next one in this process gets its own."""
        self._attempt(lambda: self.experiment.finish(exit_code=int(status != "success")))

    @rank_zero_only
    def _attempt(self, log: Callable[[], None]) -> None:
        if self.broken:
            return
        try:
            log()
        except Exception as error:  # as in default_loggers
            self.broken = True
            logger.warning("wandb stopped working (%s); logging to CSV only", reason_of(error, 200))


def _keep_earlier_curves(directory: Path) -> None:
    """The CSV logger begins by deleting the file that is there; a resumed run should not lose its past."""
    curves = directory / "metrics.csv"
    if getattr(rank_zero_only, "rank", 0) == 0 and curves.is_file():
        names = (directory / f"metrics-{number}.csv" for number in count(1))
        curves.rename(next(name for name in names if not name.exists()))


def _wandb_configured() -> bool:
    if os.environ.get("WANDB_MODE") == "offline":
        return False
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    return netrc.is_file() and "wandb" in netrc.read_text(errors="ignore")


def log_picture(loggers: Iterable[object], directory: str, name: str, grid: Tensor, step: int) -> None:
    folder = Path(directory) / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    path = write_image(grid, folder / f"{name}_{step:07d}.png")
    for each in loggers:
        if isinstance(each, ForgivingWandbLogger):
            each.log_picture(f"pictures/{name}", path, step)

"""Writing the model file when training ends."""

from __future__ import annotations

import logging
from pathlib import Path

import pytorch_lightning as pl

from arbstyle.networks.model_file import save_styler
from arbstyle.training.module import StyleTransferTraining

logger = logging.getLogger(__name__)


class Export(pl.Callback):
    """Write the averaged styler as a model file when training ends.

    Args:
        path: the ``.safetensors`` file; default: ``model.safetensors`` in the run's folder.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero and isinstance(pl_module, StyleTransferTraining):
            path = Path(self.path or Path(trainer.default_root_dir) / "model.safetensors")
            path.parent.mkdir(parents=True, exist_ok=True)
            save_styler(pl_module.trained_styler, path, pl_module.information())
            logger.info("model written to %s", path)

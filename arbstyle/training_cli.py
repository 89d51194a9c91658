"""The training command line: LightningCLI with this project's module, data, callbacks and loggers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from arbstyle.data import StyleTransferData
from arbstyle.training import Checkpoints, Export, StyleTransferTraining, default_loggers

DEFAULT_RUN = Path("runs") / "default"


class OneLineParser(LightningArgumentParser):
    """Complains in one line, as the rest of the program does."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        text = " ".join(message.split())
        self.exit(2, f"arbstyle train: error: {text} (see 'arbstyle train fit --help')\n")


class TrainingCLI(LightningCLI):
    """``fit`` and its sisters; everything a run writes lies in ``trainer.default_root_dir``."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        # As arguments of their own rather than in trainer.callbacks: a later config replaces lists.
        parser.add_lightning_class_args(Checkpoints, "checkpoint")
        parser.add_lightning_class_args(Export, "export")
        parser.add_argument("--run_name", type=str | None, default=None, help="the run's name in wandb")

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        config = self._get(self.config_init, "trainer")
        # The sets are opened first: a mistake there should be known before any accelerator is touched.
        self.datamodule.setup("fit")
        if config.get("logger") in (None, True):
            name = self._get(self.config_init, "run_name")
            kwargs["logger"] = default_loggers(config.get("default_root_dir"), name)
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        settings = {"config": self._parser("fit").dump(self.config.fit, skip_none=False)}
        for each in self.trainer.loggers:
            each.log_hyperparams(settings)


def train(argv: Sequence[str]) -> None:
    """Parse and run one training command line, such as ``["fit", "--config", "configs/default.yaml"]``."""
    warnings.filterwarnings("ignore", message=".*LightningCLI's args parameter.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    logging.getLogger("arbstyle").setLevel(logging.INFO)
    TrainingCLI(
        StyleTransferTraining,
        StyleTransferData,
        args=list(argv),
        parser_class=OneLineParser,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
        trainer_defaults={"default_root_dir": str(DEFAULT_RUN)},
        auto_configure_optimizers=False,
        # Otherwise a checkpoint's settings would silently replace those of the YAML on resuming.
        load_from_checkpoint_support=False,
    )

"""The training command line: LightningCLI with this project's module, data, callbacks and loggers."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
import yaml
from jsonargparse import get_loader, set_loader
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from arbstyle.errors import ArbstyleError, one_line
from arbstyle.images import check_output_path
from arbstyle.images.locking import claimed
from arbstyle.memory import available_cores
from arbstyle.training.callbacks import Checkpoints
from arbstyle.training.checkpoint import read_checkpoint
from arbstyle.training.data import StyleTransferData
from arbstyle.training.export import Export
from arbstyle.training.loggers import default_loggers
from arbstyle.training.module import StyleTransferTraining
from arbstyle.training.old_keys import renamed_arguments, renamed_settings

_load_yaml = get_loader("yaml")

DEFAULT_RUN = Path("runs") / "default"

MAX_SETTINGS = 100_000

CONFIG_OPTIONS = (
    *("--config", "-c", "--trainer", "--data", "--checkpoint", "--export"),
    *("--model", "--model.loss", "--model.optimization", "--model.start", "--model.logging"),
)
"""They take a file of settings, or settings themselves."""

INTERVALS = "accumulate_grad_batches", "log_every_n_steps", "val_check_interval", "check_val_every_n_epoch"
"""Settings of the trainer that it divides by without a look."""

IRRELEVANT_WARNINGS = (
    ".*LightningCLI's args parameter.*",
    ".*does not have many workers.*",
    ".*LeafSpec.*",  # between PyTorch and Lightning
    ".*in eval mode at the start of training.*",  # the frozen networks, and the average
    ".*sync_dist=True.*",  # all processes validate on the same pictures
    ".*Total length of `list` across ranks is zero.*",  # without validation
    ".*smaller than the logging interval.*",  # of an epoch; runs are logged by steps
    ".*logs directory .* exists and is not empty.*",  # earlier curves are put aside before
    ".*not supported by the model summary.*",
    ".*discard.* init_args.*",  # an overlay of another class replaces the arguments of the one below
    ".*lr_scheduler.step.*before.*optimizer.step.*",  # float16's first steps, skipped by its gradient scaler
)


def load_settings(text: str) -> Any:
    """YAML as the parser reads it, with new keys for old ones."""
    _check_references(text)
    return renamed_settings(_load_yaml(text))


def _check_references(text: str) -> None:
    """Refuse YAML whose references, written out, are huge or go in circles (a billion laughs)."""
    if "*" not in text:
        return
    try:
        _written_out(yaml.compose(text, Loader=yaml.SafeLoader), {})
    except RecursionError as error:
        raise ArbstyleError("the YAML settings are nested too deeply, or refer to themselves") from error
    except yaml.YAMLError:
        return  # the parser says so itself


def _written_out(node: yaml.Node | None, known: dict[int, int]) -> int:
    """Values below a node, those of references counted each time."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        pairs = isinstance(node, yaml.MappingNode)
        inner = [each for pair in node.value for each in pair] if pairs else node.value
        known[id(node)] = 1 + sum(_written_out(each, known) for each in inner)
        if known[id(node)] > MAX_SETTINGS:
            raise ArbstyleError(f"the YAML settings hold over {MAX_SETTINGS} values: use fewer references")
    return known[id(node)]


class OneLineParser(LightningArgumentParser):
    """Complains in one line, as the rest of the program does."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        self.exit(2, f"arbstyle train: error: {one_line(message)} (see 'arbstyle train fit --help')\n")


class TrainingCLI(LightningCLI):
    """``fit`` and its sisters; everything a run writes lies in ``trainer.default_root_dir``."""

    held = ExitStack()  # the lock on the run's folder; outside the instance, whose making is the whole run

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        commands = LightningCLI.subcommands()
        return {name: commands[name] for name in ("fit", "validate")}  # there is nothing to test or predict

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        # As arguments of their own rather than in trainer.callbacks: a later config replaces lists.
        parser.add_lightning_class_args(Checkpoints, "checkpoint")
        parser.add_lightning_class_args(Export, "export")
        parser.add_argument("--run_name", type=str | None, default=None, help="the run's name in wandb")

    def _parse_ckpt_path(self) -> None:
        # Lightning lets settings in the checkpoint replace those that the user gave; ours holds none.
        command = self.config.get("subcommand")
        path = self.config[command].get("ckpt_path") if command else None
        if path in ("last", "best"):
            path = self.config[command].ckpt_path = str(self._checkpoints() / f"{path}.ckpt")
        if path not in (None, "hpc", "registry"):
            read_checkpoint(path)

    def _run_folder(self) -> Path:
        return Path(self.config[self.config.subcommand].trainer.default_root_dir or ".")

    def _checkpoints(self) -> Path:
        settings = self.config[self.config.subcommand].get("checkpoint") or {}
        return Path(settings.get("directory") or self._run_folder() / "checkpoints")

    @rank_zero_only
    def _claim_folder(self) -> None:
        """Refuse to train where another run trains, or has left results that this one doesn't go on from."""
        resumed = self.config.fit.get("ckpt_path")
        results = [self._checkpoints() / "last.ckpt", self._checkpoints() / "best.ckpt"]
        results += [Path(self.config.fit.export.path or self._run_folder() / "model.safetensors")]
        for each in results:  # known before days of training, not behind them
            check_output_path(each, suffixes=None)
        found = next((str(each) for each in results if each.exists()), None)
        goes_on = resumed and Path(resumed).resolve().parent == self._checkpoints().resolve()
        if found and not goes_on:
            raise ArbstyleError(
                f"{found} holds an earlier run's results: go on with --ckpt_path last, or begin elsewhere "
                "with --trainer.default_root_dir"
            )
        settings = self._run_folder() / "config.yaml"
        if os.path.lexists(settings) and not _is_of_a_run(settings):
            raise ArbstyleError(
                f"{settings} is not from a run and would be replaced: give it another name, or set "
                "--trainer.default_root_dir"
            )
        self.held.enter_context(claimed(self._run_folder(), "training run"))

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        config = self._get(self.config_init, "trainer")
        if self.config.subcommand == "fit":
            self._claim_folder()
        # The sets are opened first: a mistake there should be known before any accelerator is touched.
        self.datamodule.setup("fit")
        if config.get("logger") in (None, True):
            name = self._get(self.config_init, "run_name")
            kwargs["logger"] = default_loggers(config.get("default_root_dir"), name)
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
            # No such accelerator, steps below -1, -1 devices of a CPU, a strategy whose package is not there.
            raise ArbstyleError(f"cannot train with these settings of the trainer: {error}") from error
        for setting in INTERVALS:
            value = getattr(trainer, setting)
            if isinstance(value, int | float) and value <= 0:
                raise ArbstyleError(f"expected trainer.{setting} above 0, got {value}")
        clip = trainer.gradient_clip_val
        if clip is not None and not 0 <= clip < math.inf:
            raise ArbstyleError(f"expected trainer.gradient_clip_val of 0 or above, got {clip}")
        cores = max(2, available_cores())
        if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > cores:
            raise ArbstyleError(
                f"expected trainer.devices up to {cores} processes on this CPU, got {trainer.num_devices}"
            )
        if trainer.precision == "16-true" and trainer.strategy.root_device.type == "cpu":
            raise ArbstyleError(
                "trainer.precision 16-true needs a GPU, this is a CPU: use bf16-mixed or 32-true"
            )
        return trainer

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise ArbstyleError(f"expected another seed_everything: {error}") from error

    def before_fit(self) -> None:
        settings = yaml.safe_load(self._parser("fit").dump(self.config.fit))
        for each in self.trainer.loggers:
            each.log_hyperparams(settings)


def train(argv: Sequence[str]) -> None:
    """Parse and run one training command line, such as ``["fit", "--config", "configs/default.yaml"]``."""
    _check_configs(argv)
    _configure_logging()
    set_loader("yaml", load_settings, exceptions=(yaml.YAMLError,))
    with warnings.catch_warnings():
        for message in IRRELEVANT_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        try:
            with TrainingCLI.held:
                _run(argv)
        except MisconfigurationException as error:  # told when training begins
            raise ArbstyleError(f"cannot train with these settings of the trainer: {error}") from error
        except SystemExit as stop:
            # Ctrl-C: the second one, which Lightning turns into an exit code, or the first.
            if isinstance(stop.__context__, KeyboardInterrupt) or stop.code == 128 + signal.SIGINT:
                raise KeyboardInterrupt from None
            raise


def _is_of_a_run(settings: Path) -> bool:
    """Whether Lightning wrote a file of settings; its first line says so."""
    if not settings.is_file():
        return False
    with settings.open("rb") as file:
        return re.match(rb"# (pytorch_lightning|lightning\.pytorch)==", file.read(30)) is not None


def _check_configs(argv: Sequence[str]) -> None:
    """Refuse files that the parser would wait for, or give up at: a pipe, and what is no text."""
    for word, following in zip_longest(argv, argv[1:], fillvalue=""):
        option, equals, value = word.partition("=")
        path = value if equals else following  # or settings themselves, longer than any file's name
        if option not in CONFIG_OPTIONS or not os.path.exists(path):
            continue
        if not os.path.isfile(path):
            raise ArbstyleError(f"expected settings in {path}, but it is not a regular file")
        try:
            Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ArbstyleError(f"expected settings in {path}, but it is no text in UTF-8") from error


def _run(argv: Sequence[str]) -> None:
    TrainingCLI(
        StyleTransferTraining,
        StyleTransferData,
        args=renamed_arguments(argv),
        parser_class=OneLineParser,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
        trainer_defaults={"default_root_dir": str(DEFAULT_RUN)},
        auto_configure_optimizers=False,
        # Otherwise a checkpoint's settings would silently replace those of the YAML on resuming.
        load_from_checkpoint_support=False,
    )


def _configure_logging() -> None:
    own = logging.getLogger("arbstyle")
    if not own.handlers:
        own.addHandler(logging.StreamHandler())
    logging.getLogger("arbstyle.training").setLevel(logging.INFO)
    for name in (
        "pytorch_lightning.utilities.rank_zero",
        "pytorch_lightning.trainer.connectors.checkpoint_connector",
    ):
        logging.getLogger(name).addFilter(_is_relevant)


def _is_relevant(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(noise in message for noise in ("Tip:", "`weights_only` was not set"))

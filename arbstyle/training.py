"""Training an arbitrary styler with Lightning: the module, its checkpoints and its loggers."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

import arbstyle
from arbstyle.data import StyleBatch, StyleTransferData
from arbstyle.errors import ArbstyleError
from arbstyle.images import resize, write_image
from arbstyle.losses import LossTerms, PerceptualLoss, StyleStatistic
from arbstyle.metrics import psnr
from arbstyle.networks.style_encoders import StyleEncoder
from arbstyle.networks.styler import (
    ArbitraryStyler,
    build_styler,
    describe_styler,
    extend_bank,
    load_own_state,
    load_styler,
    own_state,
    save_styler,
)
from arbstyle.networks.transformer import AdaINTransformer, TransformerNetwork
from arbstyle.perception import Network, PerceptualEncoder, Pooling

logger = logging.getLogger(__name__)

Schedule = Literal["constant", "cosine", "inverse"]


class StyleTransferTraining(pl.LightningModule):
    """A styler, the loss it is trained with, and a moving average of its weights, which is what is exported.

    Args:
        style_encoder: style picture → code.
        transformer: photo and parameters → painted photo.
        content_layers, style_layers: layer → weight.
        content_weight, style_weight, tv_weight: weights of the terms.
        identity_weight: weight of the mean squared error between photos and the same photos painted in
            their own style; taken on one photo in eight. Not for banks.
        style_statistic: ``moments`` (Huang & Belongie 2017), ``gram`` (Gatys et al. 2016) or ``both``.
        content_target: ``photo``, or ``adain``: the transformer's own restyled features (Huang & Belongie
            2017, eq. 12), for :class:`~arbstyle.networks.transformer.AdaINTransformer`.
        balance: see :class:`~arbstyle.losses.PerceptualLoss`.
        network, vgg_weights, pooling, normalize_filters: of the loss; see
            :class:`~arbstyle.perception.PerceptualEncoder`.
        learning_rate: of Adam, at its highest.
        betas: of Adam.
        schedule: ``constant``; ``cosine`` to 2 % at the last step; ``inverse``: 1 / (1 + inverse_decay · step).
        warmup_steps: the learning rate rises linearly over these.
        inverse_decay: see ``schedule``; 5e-5 is AdaIN's.
        average_decay: of the exponential moving average; early steps count less. 0: no averaging.
        compile: compile networks and loss with ``torch.compile``.
        picture_every: steps between grids of pictures; 0: none.
        init_from: exported model to start from.
        new_styles_only: with ``init_from`` a bank: keep all it has learned and train only the rows
            that are new.
    """

    def __init__(
        self,
        style_encoder: StyleEncoder,
        transformer: TransformerNetwork,
        content_layers: dict[str, float],
        style_layers: dict[str, float],
        content_weight: float = 1.0,
        style_weight: float = 1.0,
        tv_weight: float = 0.0,
        identity_weight: float = 0.0,
        style_statistic: StyleStatistic = "moments",
        content_target: Literal["photo", "adain"] = "photo",
        balance: bool = False,
        network: Network = "vgg19",
        vgg_weights: str | None = None,
        pooling: Pooling = "max",
        normalize_filters: bool = True,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        schedule: Schedule = "cosine",
        warmup_steps: int = 0,
        inverse_decay: float = 5e-5,
        average_decay: float = 0.999,
        compile: bool = False,
        picture_every: int = 500,
        init_from: str | None = None,
        new_styles_only: bool = False,
    ) -> None:
        super().__init__()
        if content_target == "adain" and not isinstance(transformer, AdaINTransformer):
            raise ArbstyleError(
                f"content_target 'adain' needs the AdaINTransformer, got {type(transformer).__name__}; use 'photo'"
            )
        if new_styles_only and init_from is None:
            raise ArbstyleError("new_styles_only adds styles to a trained bank: name its file with init_from")
        self.strict_loading = False  # frozen networks are not in checkpoints; own keys are checked on loading
        self.styler = ArbitraryStyler(style_encoder, transformer)
        self.first_style = 0
        if init_from is not None:
            self._start_from(init_from, vgg_weights, new_styles_only)
        self.average = AveragedModel(self.styler, multi_avg_fn=_WarmAverage(average_decay)).requires_grad_(False)
        encoder = PerceptualEncoder(
            network,
            sorted({*content_layers, *style_layers}),
            weights=vgg_weights,
            pooling=pooling,
            normalize_filters=normalize_filters,
        )
        self.loss = PerceptualLoss(
            encoder,
            content_layers,
            style_layers,
            content_weight=content_weight,
            style_weight=style_weight,
            tv_weight=tv_weight,
            style_statistic=style_statistic,
            balance=balance,
        )
        self.identity_weight = identity_weight
        self.content_target = content_target
        self.learning_rate = learning_rate
        self.betas = betas
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.inverse_decay = inverse_decay
        self.compile_networks = compile
        self.picture_every = picture_every
        self._since = (0, time.monotonic())

    def _start_from(self, path: str, vgg_weights: str | None, new_styles_only: bool) -> None:
        trained, _ = load_styler(path, vgg_weights)
        self.first_style = extend_bank(trained, self.styler) if new_styles_only else 0
        load_own_state(self.styler, own_state(trained))
        if new_styles_only:
            self.styler.requires_grad_(False)
            for row in list(self.styler.head.parameters())[self.first_style :]:
                row.requires_grad_(True)

    @property
    def trained_styler(self) -> ArbitraryStyler:
        """The averaged styler: what validation looks at and what is exported."""
        return self.average.module

    # --- steps ----------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        self.styler.to(memory_format=torch.channels_last)
        self.average.to(memory_format=torch.channels_last)
        if self.compile_networks:
            self.styler.compile()
            self.loss.compile()

    def on_fit_start(self) -> None:
        for each in self.loggers:
            each.log_hyperparams({"information": self.information()})

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Paint N×3×H×W photos in [0,1] with the averaged weights."""
        return self.trained_styler(content, style)

    def training_step(self, batch: StyleBatch, batch_index: int) -> Tensor:
        content = batch.content.contiguous(memory_format=torch.channels_last)
        painted, terms = self._paint_and_judge(self.styler, content, batch)
        identity = self._identity_error(content)
        total = terms.total + self.identity_weight * identity
        self._stop_unless_finite(total, batch)
        if self.trainer.global_step % self.trainer.log_every_n_steps == 0:
            self._log_terms("train", terms)
            self.log("train/identity", identity)
            self.log("train/total", total)
        return total

    def _paint_and_judge(
        self, styler: ArbitraryStyler, content: Tensor, batch: StyleBatch
    ) -> tuple[Tensor, LossTerms]:
        parameters = styler.parameters_of(styler.encode(self._style_input(batch)))
        painted = styler.transformer(content, parameters)
        targets = self.loss.targets(content, batch.style.contiguous(memory_format=torch.channels_last))
        if self.content_target == "adain" and isinstance(styler.transformer, AdaINTransformer):
            restyled = styler.transformer.adain(content, parameters).detach()
            targets = replace(targets, content={layer: restyled for layer in targets.content})
        return painted, self.loss(painted, targets)

    def _style_input(self, batch: StyleBatch) -> Tensor:
        if self.styler.style_encoder.takes_index:
            return batch.style_index + self.first_style
        return batch.style

    def _identity_error(self, content: Tensor) -> Tensor:
        if not self.identity_weight or self.styler.style_encoder.takes_index:
            return content.new_zeros(())
        some = content[: math.ceil(len(content) / 8)]
        return (self.styler(some, some) - some).square().mean()

    def _stop_unless_finite(self, total: Tensor, batch: StyleBatch) -> None:
        if torch.isfinite(total):
            return
        pairs = ", ".join(f"{content} + {style}" for content, style in batch.names)
        checkpoint = getattr(self.trainer.checkpoint_callback, "best_model_path", "") or "none yet"
        raise ArbstyleError(
            f"the loss is {float(total)} at step {self.trainer.global_step}, on {pairs}; the last good checkpoint is "
            f"{checkpoint}: lower the learning rate or clip gradients, and resume from it"
        )

    def validation_step(self, batch: StyleBatch, batch_index: int) -> None:
        styler = self.trained_styler
        painted, terms = self._paint_and_judge(styler, batch.content, batch)
        self._log_terms("val", terms, batch_size=len(painted))
        self.log("val/total", terms.total, batch_size=len(painted), prog_bar=True)
        if not styler.style_encoder.takes_index:
            same = styler(batch.content, batch.content)
            self.log("val/identity_psnr", psnr(same, batch.content).mean(), batch_size=len(painted))

    # --- optimisation ---------------------------------------------------------------------------

    def configure_optimizers(self) -> dict[str, Any]:
        parameters = [parameter for parameter in self.styler.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=self.learning_rate, betas=self.betas)
        total = float(self.trainer.estimated_stepping_batches)
        # A function leaves no state in the checkpoint: a run resumed with more steps follows the new schedule.
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: learning_rate_factor(step, self.schedule, self.warmup_steps, total, self.inverse_decay),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.styler)

    # --- checkpoints ----------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = own_state(self)
        checkpoint["architecture"] = describe_styler(self.styler)
        checkpoint["information"] = self.information()
        checkpoint["random_state"] = _random_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        here, there = describe_styler(self.styler), checkpoint.get("architecture")
        if there != here:
            raise ArbstyleError(
                "the checkpoint is of another architecture than the configuration's: use the config it was trained "
                f"with (checkpoint {json.dumps(there)}, configuration {json.dumps(here)})"
            )
        load_own_state(self, checkpoint["state_dict"])
        _set_random_state(checkpoint["random_state"])

    def information(self) -> dict[str, Any]:
        """What a model file should say of its making: versions, data, steps and settings."""
        data = getattr(self.trainer, "datamodule", None)
        styles = getattr(data, "style_names", []) if self.styler.style_encoder.takes_index else []
        return {
            "version": arbstyle.__version__,
            "revision": git_revision(),
            "steps": self.trainer.global_step,
            "data": data.summary() if isinstance(data, StyleTransferData) else None,
            "styles": styles,
            "loss": {
                "content": self.loss.content_layers,
                "style": self.loss.style_layers,
                "content_weight": self.loss.content_weight,
                "style_weight": self.loss.style_weight,
                "tv_weight": self.loss.tv_weight,
                "identity_weight": self.identity_weight,
                "statistic": self.loss.style_statistic,
            },
        }

    # --- logging --------------------------------------------------------------------------------

    def _log_terms(self, stage: str, terms: LossTerms, batch_size: int | None = None) -> None:
        values = {f"{stage}/content": terms.content, f"{stage}/style": terms.style, f"{stage}/tv": terms.tv}
        values |= {f"{stage}/raw/{name}": value for name, value in terms.layers.items()}
        values |= {f"{stage}/weighted/{name}": value for name, value in terms.weighted_layers.items()}
        self.log_dict(values, batch_size=batch_size)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.trainer.global_step % self.trainer.log_every_n_steps == 0:
            gradients = [p.grad for p in self.styler.parameters() if p.grad is not None]
            self.log("train/gradient_norm", torch.nn.utils.get_total_norm(gradients))
            self.log("train/learning_rate", optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, outputs: Any, batch: StyleBatch, batch_index: int) -> None:
        step = self.trainer.global_step
        if step % self.trainer.log_every_n_steps == 0:
            self._log_speed(step, len(batch.content) * self.trainer.world_size)
        if self.picture_every and step % self.picture_every == 0 and self.trainer.is_global_zero:
            self._log_pictures(batch)

    def _log_speed(self, step: int, images_per_step: int) -> None:
        (past_step, past), now = self._since, time.monotonic()
        self._since = (step, now)
        if step > past_step:
            self.log("train/images_per_second", (step - past_step) * images_per_step / (now - past))
        self.log("train/peak_memory_mib", peak_memory_mib(self.device))

    @torch.no_grad()
    def _log_pictures(self, batch: StyleBatch) -> None:
        """Grids of contents × styles: held-out pictures (always the same), and this batch's."""
        data = getattr(self.trainer, "datamodule", None)
        grids = {"training": batch}
        if isinstance(data, StyleTransferData) and data.validation_batches:
            grids["validation"] = self.transfer_batch_to_device(data.validation_batches[0], self.device, 0)
        styler = self.trained_styler.eval()
        for name, pictures in grids.items():
            grid = picture_grid(styler, pictures.content[:4], pictures.style[:4], self._style_input(pictures)[:4])
            _log_picture(self.loggers, self.trainer.default_root_dir, name, grid.cpu(), self.trainer.global_step)


def picture_grid(styler: ArbitraryStyler, contents: Tensor, styles: Tensor, style_inputs: Tensor) -> Tensor:
    """Styles along the top, photos down the left, every photo in every style.

    Args:
        styler: in evaluation mode.
        contents: M×3×S×S in [0,1].
        styles: N×3×T×T in [0,1], to be shown.
        style_inputs: the same as the style encoder takes them.

    Returns:
        1×3×(M+1)S×(N+1)S.
    """
    size = contents.shape[-1]
    codes = styler.encode(style_inputs)
    header = [torch.ones_like(contents[:1]), *resize(styles.float(), (size, size)).split(1)]
    rows = [torch.cat(header, dim=3)]
    for content in contents.split(1):
        painted = styler.paint(content.expand(len(codes), -1, -1, -1), codes).float().clamp(0, 1)
        rows.append(torch.cat([content, *painted.split(1)], dim=3))
    return torch.cat(rows, dim=2)


def learning_rate_factor(
    step: int, schedule: Schedule, warmup_steps: int = 0, total_steps: float = math.inf, inverse_decay: float = 5e-5
) -> float:
    """Factor on the learning rate at an optimiser step: a linear rise, times the schedule.

    Args:
        step: from 0.
        schedule, warmup_steps, inverse_decay: see :class:`StyleTransferTraining`.
        total_steps: where ``cosine`` ends; without an end it stays at 1.
    """
    rise = min(1.0, (step + 1) / (warmup_steps + 1))
    if schedule == "inverse":
        return rise / (1 + inverse_decay * step)
    if schedule == "cosine" and math.isfinite(total_steps):
        done = min(1.0, step / max(1.0, total_steps))
        return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
    return rise


class _WarmAverage:
    """Exponential moving average whose memory grows with the steps taken, up to its decay."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def __call__(self, averaged: list[Tensor], current: list[Tensor], steps: Tensor | int) -> None:
        decay = min(self.decay, (1 + float(steps)) / (10 + float(steps)))
        torch._foreach_lerp_(averaged, current, 1 - decay)


class Checkpoints(ModelCheckpoint):
    """``last.ckpt``, written every few minutes, at the end, and when the run is told to stop.

    Args:
        directory: folder; default: ``checkpoints`` in the run's folder.
        every_minutes: time between two.
    """

    def __init__(self, directory: str | None = None, every_minutes: float = 5.0) -> None:
        super().__init__(
            dirpath=directory,
            filename="last",
            train_time_interval=timedelta(minutes=every_minutes),
            save_on_exception=True,
            enable_version_counter=False,
        )

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        # After a non-finite loss the last good checkpoint must stay; after SIGTERM or Ctrl-C nothing is wrong.
        if isinstance(exception, (SystemExit, KeyboardInterrupt)):
            super().on_exception(trainer, pl_module, exception)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save_checkpoint(trainer, str(Path(self._directory(trainer)) / "last.ckpt"))

    def _directory(self, trainer: pl.Trainer) -> str:
        return str(self.dirpath or trainer.default_root_dir)


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


def export_checkpoint(checkpoint: str | Path, path: str | Path) -> Path:
    """Turn a training checkpoint into the model file that inference reads.

    Args:
        checkpoint: a ``.ckpt`` file of a run.
        path: the ``.safetensors`` file to write.

    Raises:
        ArbstyleError: not a checkpoint of this program.
    """
    if not Path(checkpoint).is_file():
        raise ArbstyleError(f"expected a checkpoint in {checkpoint}, but there is no such file")
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        architecture, state = content["architecture"], content["state_dict"]
    except Exception as error:  # whatever a foreign or damaged file makes torch.load say
        reason = (str(error).splitlines() or [""])[0]
        raise ArbstyleError(f"{checkpoint} is not a checkpoint of 'arbstyle train' ({reason})") from error
    styler = build_styler(architecture, weights="random")
    prefix = "average.module."
    load_own_state(styler, {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    return save_styler(styler, path, content["information"])


# --- loggers ------------------------------------------------------------------------------------


def default_loggers(directory: str | Path, name: str | None = None) -> list[Logger]:
    """CSV always; wandb beside it where it works: online with an account, offline without.

    Never asks for anything, and never fails because of wandb.
    """
    loggers: list[Logger] = [CSVLogger(str(directory), name="", version="")]
    if os.environ.get("WANDB_MODE") == "disabled" or importlib.util.find_spec("wandb") is None:
        return loggers
    try:
        wandb_logger = WandbLogger(
            project="arbstyle", name=name, save_dir=str(directory), offline=not _wandb_configured()
        )
        _ = wandb_logger.experiment  # starts the run, where anything that is broken shows
        loggers.append(wandb_logger)
    except Exception as error:  # whatever is wrong with wandb, training matters more
        logger.warning("wandb can't be used (%s); logging to CSV only", (str(error).splitlines() or [""])[0])
    return loggers


def _wandb_configured() -> bool:
    if os.environ.get("WANDB_MODE") == "offline":
        return False
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    return netrc.is_file() and "wandb" in netrc.read_text(errors="ignore")


def _log_picture(loggers: list[Logger], directory: str, name: str, grid: Tensor, step: int) -> None:
    folder = Path(directory) / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    path = write_image(grid, folder / f"{name}_{step:07d}.png")
    for each in loggers:
        if isinstance(each, WandbLogger):
            try:
                each.log_image(f"pictures/{name}", [str(path)], step=step)
            except Exception as error:  # as above
                logger.warning("wandb did not take a picture: %s", error)


# --- the machine --------------------------------------------------------------------------------


def git_revision() -> str | None:
    """Revision of the checkout this package runs from, if it is one."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None


def peak_memory_mib(device: torch.device) -> float:
    """Most memory used so far: allocated on a CUDA device, else resident in this process, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _random_state() -> dict[str, Any]:
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


def _set_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])

"""The LightningModule: a styler, the loss it is trained with, and the average that is exported."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from arbstyle.errors import ArbstyleError
from arbstyle.networks.model_file import describe_styler
from arbstyle.networks.state import load_own_state, own_state
from arbstyle.networks.style_encoders.base import StyleEncoder
from arbstyle.networks.style_encoders.moments import MomentsEncoder
from arbstyle.networks.styler import ArbitraryStyler
from arbstyle.networks.transformers.adain import AdaINTransformer
from arbstyle.networks.transformers.base import TransformerNetwork
from arbstyle.perception import LossTerms, PerceptualLoss, psnr
from arbstyle.training.batches import StyleBatch
from arbstyle.training.callbacks import Checkpoints, Speed, logging_interval
from arbstyle.training.checks import FiniteWatch, check_adain_target, check_bank
from arbstyle.training.data import StyleTransferData
from arbstyle.training.grids import picture_grid
from arbstyle.training.loggers import log_picture
from arbstyle.training.loss import MomentsHead, build_loss
from arbstyle.training.machine import random_state, set_random_state
from arbstyle.training.objective import Objective
from arbstyle.training.optimizers import build_scheduler, parameter_groups, use_rates
from arbstyle.training.resuming import check_resumable, drop_retired_weights, information, state_of
from arbstyle.training.schedule import WarmAverage
from arbstyle.training.settings import LoggingSettings, LossSettings, OptimizationSettings, StartSettings
from arbstyle.training.start import start_from_model, train_descriptions_only

logger = logging.getLogger(__name__)


class StyleTransferTraining(pl.LightningModule):
    """A styler, the loss it is trained with, and a moving average of its weights, which is what is exported.

    Args:
        style_encoder: style picture → code.
        transformer: photo and parameters → painted photo.
        loss, optimization, start, logging: see :mod:`arbstyle.training.settings`.
    """

    def __init__(
        self,
        style_encoder: StyleEncoder,
        transformer: TransformerNetwork,
        loss: LossSettings = LossSettings(),
        optimization: OptimizationSettings = OptimizationSettings(),
        start: StartSettings = StartSettings(),
        logging: LoggingSettings = LoggingSettings(),
    ) -> None:
        super().__init__()
        if optimization.encoder_only and not loss.moments_weight:
            raise ArbstyleError(
                "optimization.encoder_only leaves only loss.moments_weight to train by: set it above 0"
            )
        if loss.content_target == "adain":
            check_adain_target(transformer, loss)
        self.strict_loading = False  # frozen networks are not in checkpoints; own keys are checked on loading
        self.loss_settings = loss
        self.optimization = optimization
        self.logging = logging
        self.styler: ArbitraryStyler = ArbitraryStyler(style_encoder, transformer)
        self.is_started: bool = start.model is not None
        self.first_style: int = start_from_model(self.styler, start, loss.vgg_weights)
        if optimization.encoder_only:
            train_descriptions_only(self.styler)
        average = WarmAverage(self.styler, optimization.average_decay)
        self.average: WarmAverage = average.requires_grad_(False)
        self.loss: PerceptualLoss = build_loss(loss)
        self.moments_head: MomentsHead | None = (
            MomentsHead(style_encoder, self.loss) if loss.moments_weight else None
        )
        self.objective: Objective = Objective(
            self.loss, self.moments_head, loss, self.first_style, optimization.draft_every
        )
        self._watch = FiniteWatch()
        self._random_state: dict[str, Any] | None = None

    @property
    def trained_styler(self) -> ArbitraryStyler:
        """The averaged styler: what validation looks at and what is exported."""
        return cast(ArbitraryStyler, self.average.module)

    # --- steps ----------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        self.styler.to(memory_format=torch.channels_last)
        self.average.to(memory_format=torch.channels_last)
        if self.optimization.compile:
            self._compile()

    def _compile(self) -> None:
        parts = [self.styler.transformer, self.loss.encoder]
        if isinstance(self.styler.transformer, AdaINTransformer):  # whose halves are used one by one
            parts += [self.styler.transformer.encoder, self.styler.transformer.decoder]
        encoder = self.styler.style_encoder
        if not encoder.takes_index:
            parts.append(encoder)
        if self.moments_head is not None and isinstance(encoder, MomentsEncoder):
            encoder.describe = torch.compile(encoder.describe)  # type: ignore[method-assign]
        for part in parts:
            part.compile()

    def configure_callbacks(self) -> list[pl.Callback]:
        return [Speed()]

    def on_fit_start(self) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if self.styler.style_encoder.takes_index and isinstance(data, StyleTransferData):
            check_bank(self.styler.style_encoder.code_size - self.first_style, self.first_style, data)
        for each in self.loggers:
            each.log_hyperparams({"information": self.information()})

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Paint N×3×H×W photos in [0,1] with the averaged weights."""
        return self.trained_styler(content, style)

    def on_train_batch_start(self, batch: StyleBatch, batch_index: int) -> None:
        # What loggers call the step; after resuming, Lightning's own count may be one ahead.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.trainer.global_step
        if self._random_state is not None:  # only now, since starting the data loader draws a number
            set_random_state(self._random_state)
            self._random_state = None

    def training_step(self, batch: StyleBatch, batch_index: int) -> Tensor:
        if not self.optimization.encoder_only:
            total = self._train_painting(batch)
        else:
            targets = self.objective.training_targets(None, batch.style)
            _, description = self.objective.encode(self.styler, batch)
            total = self.loss_settings.moments_weight * self.objective.moments_error(description, targets)
        self._watch.add(total, batch.names)
        if self._logs_this_step():
            self.log("train/total", total)
        return total

    def _train_painting(self, batch: StyleBatch) -> Tensor:
        step = self.trainer.global_step
        code, description = self.objective.encode(self.styler, batch)
        judged = self.objective.judge_painting(self.styler, code, batch, step)
        identity = self.objective.identity_error(self.styler, batch.content, step)
        uneven = self.objective.evenness_error(judged.painted, batch.content)
        marks = self.objective.marks_error(judged.painted, batch.content)
        noise = self.objective.noise_power(self.styler, code)
        moments = self.objective.moments_error(description, judged.targets)
        if self._logs_this_step():
            self._log_terms("train", judged.terms)
            self.log("train/identity", identity)
            self.log("train/unevenness", uneven)
            self.log("train/marks", marks)
            self.log("train/noise", noise)
            self.log("train/moments", moments)
        return (
            judged.terms.total
            + self.loss_settings.identity_weight * identity
            + self.loss_settings.evenness_weight * uneven
            + self.loss_settings.marks_weight * marks
            + self.loss_settings.noise_weight * noise
            + self.loss_settings.moments_weight * moments
        )

    def validation_step(self, batch: StyleBatch, batch_index: int) -> None:
        styler = self.trained_styler
        code, description = self.objective.encode(styler, batch)
        if self.optimization.encoder_only:
            error = self.objective.moments_error(description, self.loss.targets(None, batch.style))
            self.log("val/total", error, batch_size=len(batch.style), prog_bar=True)
            return
        terms = self.objective.judge_painting(styler, code, batch, self.trainer.global_step).terms
        size = len(batch.content)
        self._log_terms("val", terms, batch_size=size)
        self.log("val/total", terms.total, batch_size=size, prog_bar=True)
        if not styler.style_encoder.takes_index:
            same = styler(batch.content, batch.content)
            self.log("val/identity_psnr", psnr(same, batch.content).mean(), batch_size=size)

    def on_train_end(self) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, StyleTransferData) and data.skipped:
            logger.warning("pictures that could not be decoded and were skipped: %d", len(data.skipped))

    # --- optimisation ---------------------------------------------------------------------------

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        steps = float(self.trainer.estimated_stepping_batches)
        scheduler = build_scheduler(self._parameter_groups(), self.optimization, steps)
        return {
            "optimizer": scheduler.optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _parameter_groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.optimization, *self._all_parameters())

    def _all_parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Those of the style encoder and of all else, also those that don't train."""
        encoder = list(self.styler.style_encoder.parameters())
        if self.moments_head is not None:
            encoder += self.moments_head.parameters()
        return encoder, [*self.styler.head.parameters(), *self.styler.transformer.parameters()]

    def on_train_start(self) -> None:
        if self.trainer.global_step == 0 and not self.is_started:
            self._prepare_encoder()
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, LambdaLR):
            use_rates(scheduler, self._parameter_groups(), self.optimization)

    @torch.no_grad()
    def _prepare_encoder(self) -> None:
        data = getattr(self.trainer, "datamodule", None)
        encoder = self.styler.style_encoder
        if isinstance(data, StyleTransferData) and type(encoder).prepare is not StyleEncoder.prepare:
            encoder.prepare([data.style_examples().to(next(self.styler.transformer.parameters()))])

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        gradients = [each.grad for each in parameters if each.grad is not None]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        # In float16 the gradient scaler skips steps whose gradient is not finite.
        ignored = self.trainer.precision == "16-mixed"
        self._watch.end_step(self.trainer.global_step, gradients, None if ignored else norm)
        if self._logs_this_step() or self._watch.is_full:
            self._stop_unless_finite()
        if self._logs_this_step():
            self.log("train/gradient_norm", norm)
            self.log("train/learning_rate", optimizer.param_groups[-1]["lr"])

    def on_validation_start(self) -> None:
        self._stop_unless_finite()

    def on_train_epoch_end(self) -> None:
        self._stop_unless_finite()  # before a model is exported

    def _stop_unless_finite(self) -> None:
        """Stop if a loss or gradient was not finite; waits for the device."""
        wrong = self._watch.what_is_not_finite()
        if wrong is None:
            return
        checkpoints = self.trainer.checkpoint_callback
        written = checkpoints.last_written if isinstance(checkpoints, Checkpoints) else None
        pairs = ", ".join(f"{content} + {style}" for content, style in wrong.pairs)
        raise ArbstyleError(
            f"the {wrong.what} at step {wrong.step}, on {pairs}; the last good checkpoint is "
            f"{written or self.trainer.ckpt_path or 'none yet'}: resume from it with a lower learning rate "
            "or trainer.gradient_clip_val"
        )

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.styler)

    # --- checkpoints ----------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._stop_unless_finite()
        checkpoint["state_dict"] = own_state(self)
        checkpoint["architecture"] = describe_styler(self.styler)
        checkpoint["information"] = self.information()
        checkpoint["optimizer"] = self.optimization.optimizer
        checkpoint["random_state"] = random_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_resumable(checkpoint, self.styler, self.optimization.optimizer)
        encoder, others = self._all_parameters()
        drop_retired_weights(checkpoint, self, self._parameter_groups(), [*encoder, *others])
        load_own_state(self, state_of(checkpoint))
        self._random_state = checkpoint.get("random_state")

    def information(self) -> dict[str, Any]:
        """What a model file should say of its making: versions, data, steps and settings."""
        data = getattr(self.trainer, "datamodule", None)
        return information(
            self.styler,
            self.loss,
            data=data if isinstance(data, StyleTransferData) else None,
            steps=self.trainer.global_step,
            optimizer=self.optimization.optimizer,
            identity_weight=self.loss_settings.identity_weight,
            evenness_weight=self.loss_settings.evenness_weight,
            evenness_tolerance=self.loss_settings.evenness_tolerance,
            marks_weight=self.loss_settings.marks_weight,
            noise_weight=self.loss_settings.noise_weight,
        )

    # --- logging --------------------------------------------------------------------------------

    def _log_terms(self, stage: str, terms: LossTerms, batch_size: int | None = None) -> None:
        values = {f"{stage}/content": terms.content, f"{stage}/style": terms.style, f"{stage}/tv": terms.tv}
        values |= {f"{stage}/raw/{name}": value for name, value in terms.layers.items()}
        values |= {f"{stage}/weighted/{name}": value for name, value in terms.weighted_layers.items()}
        self.log_dict(values, batch_size=batch_size)

    def _logs_this_step(self) -> bool:
        """Whether Lightning hands what is logged during this step to the loggers at its end."""
        return (self.trainer.global_step + 1) % logging_interval(self.trainer) == 0

    def on_train_batch_end(self, outputs: Any, batch: StyleBatch, batch_index: int) -> None:
        # More batches may be needed for an optimiser step.
        if self._watch.is_within_a_step or not self.logging.picture_every or not self.trainer.is_global_zero:
            return
        if self.trainer.global_step % self.logging.picture_every == 0:
            self._log_pictures(batch)

    def _log_pictures(self, batch: StyleBatch) -> None:
        """Grids of contents × styles: held-out pictures (always the same), and this batch's."""
        data = getattr(self.trainer, "datamodule", None)
        grids = {"training": batch}
        if isinstance(data, StyleTransferData) and data.validation_batches:
            held_out = self.trainer.precision_plugin.convert_input(data.validation_batches[0])
            grids["validation"] = self.transfer_batch_to_device(held_out, self.device, 0)
        styler = self.trained_styler.eval()  # Lightning sets training mode on all modules
        folder, step = self.trainer.default_root_dir, self.trainer.global_step
        for name, pictures in grids.items():
            inputs = self.objective.style_input(styler, pictures)[:4]
            grid = picture_grid(styler, pictures.content[:4], pictures.style[:4], inputs)
            log_picture(self.loggers, folder, name, grid.float().cpu(), step)

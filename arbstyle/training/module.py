"""The LightningModule: a styler, the loss it is trained with, and the average that is exported."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

import arbstyle
from arbstyle.errors import ArbstyleError
from arbstyle.images import resize
from arbstyle.networks.style_encoders import MomentsEncoder, StyleEncoder
from arbstyle.networks.styler import (
    ArbitraryStyler,
    describe_styler,
    extend_bank,
    graft,
    load_own_state,
    load_styler,
    own_state,
)
from arbstyle.networks.transformer import AdaINTransformer, TransformerNetwork, half_size, mix_draft
from arbstyle.perception import (
    LossTerms,
    Network,
    PerceptualEncoder,
    PerceptualLoss,
    Pooling,
    StyleStatistic,
    Targets,
    psnr,
)
from arbstyle.perception.remembered import RememberedTargets
from arbstyle.training.batches import StyleBatch
from arbstyle.training.callbacks import Checkpoints, Speed, logging_interval
from arbstyle.training.data import StyleTransferData
from arbstyle.training.loggers import log_picture
from arbstyle.training.machine import git_revision, random_state, set_random_state
from arbstyle.training.muon import Muon

logger = logging.getLogger(__name__)

Schedule = Literal["constant", "cosine", "inverse"]
Tensors = list[Tensor] | tuple[Tensor, ...]


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
        balance, style_bound: see :class:`~arbstyle.perception.PerceptualLoss`.
        network, vgg_weights, pooling, normalize_filters: of the loss; see
            :class:`~arbstyle.perception.PerceptualEncoder`.
        optimizer: ``adam``, or ``muon``, which learns more from each step and takes a little longer over it;
            see :class:`~arbstyle.training.muon.Muon`.
        learning_rate: of the optimiser, at its highest.
        encoder_rate: the style encoder's learning rate over that of all else.
        betas: of Adam.
        schedule: ``constant``; ``cosine`` to 2 % at the last step; ``inverse``:
            1 / (1 + inverse_decay · step).
        warmup_steps: the learning rate rises linearly over these.
        inverse_decay: see ``schedule``; 5e-5 is AdaIN's.
        average_decay: of the exponential moving average; early steps count less. 0: no averaging.
        compile: compile networks and loss with ``torch.compile``.
        picture_every: steps between grids of pictures; 0: none.
        init_from: exported model to start from; it may lack conditional sites, such as noise, that this
            one has.
        new_styles_only: with ``init_from`` a bank: keep all it has learned and train only the rows
            that are new.
        moments_weight: weight of the error with which a linear layer reads the style's moments off the
            description of a :class:`~arbstyle.networks.MomentsEncoder`, in the units of the unweighted
            style term. It teaches the encoder to see what the loss will judge by.
        paint: ``False``: train the encoder by that alone, many times as fast.
        remember_targets: make the loss's targets once for each crop and keep them in memory: half the
            loss's time saved where ``data.variants`` is small.
        draft_every: every so many steps the photos are mixed with paintings of themselves at half the size,
            as for wider strokes in use (see :func:`~arbstyle.networks.transformer.mix_draft`). 0: never.
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
        style_bound: bool = False,
        network: Network = "vgg19",
        vgg_weights: str | None = None,
        pooling: Pooling = "max",
        normalize_filters: bool = True,
        optimizer: Literal["adam", "muon"] = "adam",
        learning_rate: float = 1e-3,
        encoder_rate: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        schedule: Schedule = "cosine",
        warmup_steps: int = 0,
        inverse_decay: float = 5e-5,
        average_decay: float = 0.999,
        compile: bool = False,
        picture_every: int = 500,
        init_from: str | None = None,
        new_styles_only: bool = False,
        moments_weight: float = 0.0,
        paint: bool = True,
        remember_targets: bool = False,
        draft_every: int = 0,
    ) -> None:
        super().__init__()
        if not paint and not moments_weight:
            raise ArbstyleError("without painting there is only moments_weight to train by: set it above 0")
        if content_target == "adain":
            _check_adain_target(transformer, content_layers, network, normalize_filters, pooling)
        if new_styles_only and init_from is None:
            raise ArbstyleError("new_styles_only adds styles to a trained bank: name its file with init_from")
        self.strict_loading = False  # frozen networks are not in checkpoints; own keys are checked on loading
        self.styler = ArbitraryStyler(style_encoder, transformer)
        self.first_style = 0
        self.is_started = init_from is not None
        if init_from is not None:
            self._start_from(init_from, vgg_weights, new_styles_only)
        self.average = AveragedModel(self.styler, multi_avg_fn=_WarmAverage(average_decay)).requires_grad_(
            False
        )
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
            style_bound=style_bound,
        )
        self.moments_weight = moments_weight
        self.paints = paint
        self.moments_reader = self._make_moments_reader() if moments_weight else None
        self.training_targets = RememberedTargets(self.loss) if remember_targets else self.loss.targets
        self.identity_weight = identity_weight
        self.content_target = content_target
        self.optimizer_name = optimizer
        self.learning_rate = learning_rate
        self.encoder_rate = encoder_rate
        self.betas = betas
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.inverse_decay = inverse_decay
        self.compile_networks = compile
        self.picture_every = picture_every
        self.draft_every = draft_every
        self._unchecked: list[tuple[Tensor, list[tuple[str, str]]]] = []
        self._random_state: dict[str, Any] | None = None

    def _start_from(self, path: str, vgg_weights: str | None, new_styles_only: bool) -> None:
        trained, _ = load_styler(path, vgg_weights)
        self.first_style = extend_bank(trained, self.styler) if new_styles_only else 0
        if describe_styler(trained) == describe_styler(self.styler) or new_styles_only:
            load_own_state(self.styler, own_state(trained))
        else:
            graft(trained, self.styler)
        if new_styles_only:
            self.styler.requires_grad_(False)
            for row in list(self.styler.head.parameters())[self.first_style :]:
                row.requires_grad_(True)

    def _make_moments_reader(self) -> nn.Linear:
        encoder = self.styler.style_encoder
        if not isinstance(encoder, MomentsEncoder) or self.loss.style_statistic == "gram":
            raise ArbstyleError(
                "moments_weight needs style encoder MomentsEncoder and style_statistic moments or both, got "
                f"{type(encoder).__name__} and {self.loss.style_statistic}"
            )
        channels = sum(self.loss.encoder.channels[layer] for layer in self.loss.style_layers)
        reader = nn.Linear(encoder.description_size, 2 * channels)
        nn.init.ones_(reader.bias)  # with normalised filters every channel has mean 1
        return reader

    @property
    def trained_styler(self) -> ArbitraryStyler:
        """The averaged styler: what validation looks at and what is exported."""
        return cast(ArbitraryStyler, self.average.module)

    # --- steps ----------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        self.styler.to(memory_format=torch.channels_last)
        self.average.to(memory_format=torch.channels_last)
        if self.compile_networks:
            self._compile()

    def _compile(self) -> None:
        parts = [self.styler.transformer, self.loss.encoder]
        if isinstance(self.styler.transformer, AdaINTransformer):  # whose halves are used one by one
            parts += [self.styler.transformer.encoder, self.styler.transformer.decoder]
        if not self.styler.style_encoder.takes_index:
            parts.append(self.styler.style_encoder)
        for part in parts:
            part.compile()

    def configure_callbacks(self) -> list[pl.Callback]:
        return [Speed()]

    def on_fit_start(self) -> None:
        self._check_bank()
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
        if self.paints:
            total = self._train_painting(batch)
        else:
            targets = self.training_targets(None, batch.style)
            total = self.moments_weight * self._reading_error(self.styler, batch.style, targets)
        self._unchecked.append((total.detach(), batch.names))
        if self._logs_this_step():
            self.log("train/total", total)
        return total

    def _train_painting(self, batch: StyleBatch) -> Tensor:
        content = batch.content.contiguous(memory_format=torch.channels_last)
        _, targets, terms = self._paint_and_judge(self.styler, content, batch)
        identity = self._identity_error(content)
        reading = self._reading_error(self.styler, batch.style, targets)
        if self._logs_this_step():
            self._log_terms("train", terms)
            self.log("train/identity", identity)
            self.log("train/reading", reading)
        return terms.total + self.identity_weight * identity + self.moments_weight * reading

    def _paint_and_judge(
        self, styler: ArbitraryStyler, content: Tensor, batch: StyleBatch
    ) -> tuple[Tensor, Targets, LossTerms]:
        style = batch.style.contiguous(memory_format=torch.channels_last)
        parameters = styler.parameters_of(styler.encode(self._style_input(batch)))
        if self.content_target == "adain" and isinstance(styler.transformer, AdaINTransformer):
            # The target is what the decoder gets: the photo goes through VGG once, not three times.
            restyled = styler.transformer.adain(content, parameters)
            painted = styler.transformer.decode(restyled)
            targets = replace(
                self.loss.targets(None, style), content=dict.fromkeys(self.loss.content_layers, restyled)
            )
        else:
            seed = self._noise_seed(styler)
            start = self._with_draft(content, parameters, seed) if styler.training else content
            painted = styler.transformer(start, parameters, seed=seed)
            make_targets = self.training_targets if styler.training else self.loss.targets
            targets = make_targets(content, style)
        return painted, targets, self.loss(painted, targets)

    def _reading_error(self, styler: ArbitraryStyler, style: Tensor, targets: Targets) -> Tensor:
        """The style term of a picture that has the moments read off the encoder's description."""
        if self.moments_reader is None:
            return style.new_zeros(())
        statistics = [each for layer in targets.style.values() for each in layer[-2:]]  # the moments
        encoder = cast(MomentsEncoder, styler.style_encoder)
        read = self.moments_reader(encoder.describe(style)).float()
        parts = read.split([each.shape[1] for each in statistics], dim=1)
        errors = [(part - each).square().mean() for part, each in zip(parts, statistics, strict=True)]
        return torch.stack(errors).sum()

    def _style_input(self, batch: StyleBatch) -> Tensor:
        if self.styler.style_encoder.takes_index:
            return batch.style_index + self.first_style
        return batch.style

    def _identity_error(self, content: Tensor) -> Tensor:
        if not self.identity_weight or self.styler.style_encoder.takes_index:
            return content.new_zeros(())
        some = content[: math.ceil(len(content) / 8)]
        same = self.styler(some, some, seed=self._noise_seed(self.styler))
        return (same - some).square().mean()

    @torch.no_grad()
    def _with_draft(self, content: Tensor, parameters: Tensor, seed: int) -> Tensor:
        """Photos to repaint: at some steps, mixed with a draft."""
        if not self.draft_every or self.trainer.global_step % self.draft_every:
            return content
        return mix_draft(content, self.styler.transformer(half_size(content), parameters, seed))

    def _noise_seed(self, styler: ArbitraryStyler) -> int:
        """Another noise every step of training; always the same where results are compared."""
        return self.trainer.global_step if styler.training else 0

    def validation_step(self, batch: StyleBatch, batch_index: int) -> None:
        styler = self.trained_styler
        if not self.paints:
            error = self._reading_error(styler, batch.style, self.loss.targets(None, batch.style))
            self.log("val/total", error, batch_size=len(batch.style), prog_bar=True)
            return
        painted, _, terms = self._paint_and_judge(styler, batch.content, batch)
        self._log_terms("val", terms, batch_size=len(painted))
        self.log("val/total", terms.total, batch_size=len(painted), prog_bar=True)
        if not styler.style_encoder.takes_index:
            same = styler(batch.content, batch.content)
            self.log("val/identity_psnr", psnr(same, batch.content).mean(), batch_size=len(painted))

    def on_train_end(self) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, StyleTransferData) and data.skipped:
            logger.warning("pictures that could not be decoded and were skipped: %d", len(data.skipped))

    def _check_bank(self) -> None:
        """Say what is wrong with a style bank's data in one line, before the first step."""
        data = getattr(self.trainer, "datamodule", None)
        if not self.styler.style_encoder.takes_index or not isinstance(data, StyleTransferData):
            return
        rows, styles = self.styler.style_encoder.code_size - self.first_style, data.num_styles
        if styles is None:
            raise ArbstyleError(
                "a style bank needs numbered styles, and a stream's have none: set data.streaming to false"
            )
        if data.hold_out_styles and data.validation_pairs:
            raise ArbstyleError("a style bank knows no held-out styles: set data.hold_out_styles to false")
        if styles > rows:
            raise ArbstyleError(
                f"the bank has {rows} rows to train, the set {styles} style pictures: set "
                f"model.style_encoder.init_args.num_styles to {styles + self.first_style}"
            )

    # --- optimisation ---------------------------------------------------------------------------

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer_class = Muon if self.optimizer_name == "muon" else torch.optim.Adam
        optimizer = optimizer_class(self._parameter_groups(), lr=self.learning_rate, betas=self.betas)
        total = float(self.trainer.estimated_stepping_batches)
        # A function leaves no state in the checkpoint: a run resumed with more steps follows the new curve.
        scheduler = LambdaLR(
            optimizer,
            lambda step: learning_rate_factor(
                step, self.schedule, self.warmup_steps, total, self.inverse_decay
            ),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        encoder = list(self.styler.style_encoder.parameters())
        if self.moments_reader is not None:
            encoder += self.moments_reader.parameters()
        others = [*self.styler.head.parameters(), *self.styler.transformer.parameters()]
        groups = [(encoder, self.encoder_rate * self.learning_rate), (others, self.learning_rate)]
        trained = [([p for p in parameters if p.requires_grad], rate) for parameters, rate in groups]
        return [{"params": parameters, "lr": rate} for parameters, rate in trained if parameters]

    def on_train_start(self) -> None:
        if self.trainer.global_step == 0 and not self.is_started:
            self._prepare_encoder()
        # A checkpoint restores its own learning rates and betas; the configuration's are meant.
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, LambdaLR):
            scheduler.base_lrs = [group["lr"] for group in self._parameter_groups()]
            for group, base, factor in zip(
                scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True
            ):
                rate = base * factor(scheduler.last_epoch)
                group |= {"initial_lr": base, "lr": rate, "betas": self.betas}

    @torch.no_grad()
    def _prepare_encoder(self) -> None:
        data = getattr(self.trainer, "datamodule", None)
        batches = data.validation_batches if isinstance(data, StyleTransferData) else []
        if batches:
            like = next(self.styler.transformer.parameters())
            self.styler.style_encoder.prepare([batch.style.to(like) for batch in batches])

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        gradients = [p.grad for p in self.styler.parameters() if p.grad is not None]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        self._stop_unless_finite(norm)
        if self._logs_this_step():
            self.log("train/gradient_norm", norm)
            self.log("train/learning_rate", optimizer.param_groups[-1]["lr"])

    def _stop_unless_finite(self, gradient_norm: Tensor) -> None:
        """Stop before anything that is not finite reaches the weights, and so a checkpoint."""
        losses = torch.stack([loss for loss, _ in self._unchecked])
        # One look a step, since each waits for the device. In float16 the gradient scaler skips such steps.
        ignored = self.trainer.precision == "16-mixed"
        values = losses if ignored else torch.cat([losses, gradient_norm.detach().to(losses).view(1)])
        if bool(torch.isfinite(values).all()):
            self._unchecked.clear()
            return
        bad = [
            (f"loss is {float(loss)}", names) for loss, names in self._unchecked if not torch.isfinite(loss)
        ]
        everything = [pair for _, names in self._unchecked for pair in names]
        what, pairs = bad[0] if bad else (f"gradient's norm is {float(gradient_norm)}", everything)
        checkpoints = self.trainer.checkpoint_callback
        written = checkpoints.last_written if isinstance(checkpoints, Checkpoints) else None
        raise ArbstyleError(
            f"the {what} at step {self.trainer.global_step}, on "
            f"{', '.join(f'{content} + {style}' for content, style in pairs)}; the last good checkpoint is "
            f"{written or self.trainer.ckpt_path or 'none yet'}: resume from it with a lower learning rate "
            "or trainer.gradient_clip_val"
        )

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.styler)

    # --- checkpoints ----------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = own_state(self)
        checkpoint["architecture"] = describe_styler(self.styler)
        checkpoint["information"] = self.information()
        checkpoint["optimizer"] = self.optimizer_name
        checkpoint["random_state"] = random_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        here, there = describe_styler(self.styler), checkpoint.get("architecture")
        if there != here:
            raise ArbstyleError(
                "the checkpoint is of another architecture than the configuration's: use the config it was "
                f"trained with (checkpoint {json.dumps(there)}, configuration {json.dumps(here)})"
            )
        optimizer = checkpoint.get("optimizer", "adam")
        if optimizer != self.optimizer_name:
            raise ArbstyleError(
                f"the checkpoint was trained with model.optimizer {optimizer}, the configuration says "
                f"{self.optimizer_name}: give the checkpoint's, or begin a new run from its weights "
                "('arbstyle export', then model.init_from)"
            )
        load_own_state(self, checkpoint["state_dict"])
        self._random_state = checkpoint.get("random_state")

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
            "optimizer": self.optimizer_name,
            "loss": {
                "content": self.loss.content_layers,
                "style": self.loss.style_layers,
                "content_weight": self.loss.content_weight,
                "style_weight": self.loss.style_weight,
                "tv_weight": self.loss.tv_weight,
                "identity_weight": self.identity_weight,
                "statistic": self.loss.style_statistic,
                "style_bound": self.loss.style_bound,
            },
        }

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
        # Nothing is unchecked right after an optimiser step; more batches may be needed for one.
        if self._unchecked or not self.picture_every or not self.trainer.is_global_zero:
            return
        if self.trainer.global_step % self.picture_every == 0:
            self._log_pictures(batch)

    @torch.no_grad()
    def _log_pictures(self, batch: StyleBatch) -> None:
        """Grids of contents × styles: held-out pictures (always the same), and this batch's."""
        data = getattr(self.trainer, "datamodule", None)
        grids = {"training": batch}
        if isinstance(data, StyleTransferData) and data.validation_batches:
            held_out = self.trainer.precision_plugin.convert_input(data.validation_batches[0])
            grids["validation"] = self.transfer_batch_to_device(held_out, self.device, 0)
        styler = self.trained_styler.eval()  # Lightning sets training mode on all modules
        for name, pictures in grids.items():
            grid = picture_grid(
                styler, pictures.content[:4], pictures.style[:4], self._style_input(pictures)[:4]
            )
            log_picture(
                self.loggers,
                self.trainer.default_root_dir,
                name,
                grid.float().cpu(),
                self.trainer.global_step,
            )


def _check_adain_target(
    transformer: TransformerNetwork,
    content_layers: Mapping[str, float],
    network: Network,
    normalize_filters: bool,
    pooling: Pooling,
) -> None:
    if not isinstance(transformer, AdaINTransformer):
        raise ArbstyleError(
            f"content_target 'adain' needs AdaINTransformer, got {type(transformer).__name__}: use 'photo'"
        )
    if list(content_layers) != [transformer.layer]:
        raise ArbstyleError(
            f"content_target 'adain' is features of {transformer.layer}: expected content_layers of it only, "
            f"got {', '.join(content_layers)}"
        )
    if (network, normalize_filters, pooling) != ("vgg19", True, "max"):
        raise ArbstyleError(
            "content_target 'adain' is features of VGG-19 with normalised filters and max pooling: leave "
            "network, normalize_filters and pooling of the loss at these"
        )


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
    step: int,
    schedule: Schedule,
    warmup_steps: int = 0,
    total_steps: float = math.inf,
    inverse_decay: float = 5e-5,
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

    def __call__(self, averaged: Tensors, current: Tensors, steps: Tensor | int) -> None:
        decay = min(self.decay, (1 + float(steps)) / (10 + float(steps)))
        torch._foreach_lerp_(averaged, current, 1 - decay)

"""Statistics of feature maps that describe a style, as pure functions.

Both are computed in float32 at least, so that half-precision features do not overflow.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def gram_matrix(features: Tensor) -> Tensor:
    """Correlations between channels, averaged over positions: G = F Fᵀ / (H·W).

    Gatys et al. 2016, eq. 3, divided by the number of positions so that pictures of different
    sizes compare.

    Args:
        features: N×C×H×W.

    Returns:
        N×C×C, symmetric positive semi-definite.
    """
    return _GramMatrix.apply(features)


class _GramMatrix(torch.autograd.Function):
    """Reads features in the order they lie in memory, and multiplies once on the way back, not twice."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        flat = _channels_by_positions(features)
        with torch.autocast(flat.device.type, enabled=False):  # which would multiply in half precision
            return flat @ flat.transpose(1, 2) / flat.shape[2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        flat = _channels_by_positions(features)
        symmetric = (gradient + gradient.transpose(1, 2)) / flat.shape[2]
        with torch.autocast(flat.device.type, enabled=False):
            if features.is_contiguous(memory_format=torch.channels_last):
                rows = flat.transpose(1, 2) @ symmetric
                flat_gradient = rows.transpose(1, 2)
            else:
                flat_gradient = symmetric @ flat
        return flat_gradient.unflatten(2, features.shape[2:]).to(features.dtype)


def _channels_by_positions(features: Tensor) -> Tensor:
    """N×C×(H·W), a view of features in either memory format."""
    wide = _at_least_float32(features)
    if features.is_contiguous(memory_format=torch.channels_last):
        return wide.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
    return wide.flatten(2)


def channel_moments(features: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over positions (Huang & Belongie 2017, eq. 5 and 6).

    The variance is the biased one, as in instance normalisation.

    Args:
        features: N×C×H×W.
        eps: added to the variance; keeps the gradient finite where a channel is constant.

    Returns:
        mean N×C and standard deviation N×C.
    """
    return _ChannelMoments.apply(features, eps)


class _ChannelMoments(torch.autograd.Function):
    """Its gradient is linear in the features: one pass over them instead of autograd's ten."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        mean, deviation = _moments(features, eps)
        ctx.save_for_backward(features, mean, deviation)
        return mean, deviation

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, mean_gradient: Tensor, deviation_gradient: Tensor) -> tuple[Tensor, None]:
        features, mean, deviation = ctx.saved_tensors
        positions = features.shape[2] * features.shape[3]
        slope = deviation_gradient / (deviation * positions)
        intercept = mean_gradient / positions - slope * mean
        # In half precision the two terms would lose what is left of their difference, or overflow.
        gradient = torch.addcmul(
            intercept[:, :, None, None], slope[:, :, None, None], _at_least_float32(features)
        )
        return gradient.to(features.dtype), None


def _moments(features: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    if features.device.type == "cpu" and features.is_contiguous() and features.numel():
        # Instance normalisation finds them on its way: exact for this layout, and up to ten times as fast.
        (n, channels), positions = features.shape[:2], features.shape[2] * features.shape[3]
        wide_type = torch.promote_types(features.dtype, torch.float32)
        scale = torch.ones(channels, dtype=wide_type)
        _, mean, inverse = torch.native_group_norm(
            features, scale, None, n, channels, positions, channels, eps
        )
        return mean, 1 / inverse
    wide = _at_least_float32(features)
    mean = wide.mean(dim=(2, 3), keepdim=True)
    # Two plain passes are three times as fast on a CPU as torch.var_mean, and as exact.
    deviation = ((wide - mean).square_().mean(dim=(2, 3)) + eps).sqrt()
    return mean[:, :, 0, 0], deviation


def _at_least_float32(features: Tensor) -> Tensor:
    return features if features.dtype.itemsize > 4 else features.float()

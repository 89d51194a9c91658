"""Networks that are used and never trained."""

from __future__ import annotations

from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FrozenNetwork(nn.Module):
    """Used and never trained: always in evaluation mode, without gradients, not in checkpoints."""

    def freeze(self) -> None:
        """To be called at the end of a subclass's constructor."""
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> FrozenNetwork:
        """Stay in evaluation mode: a frozen network has no other."""
        return super().train(False)

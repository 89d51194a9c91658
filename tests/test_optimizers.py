"""The optimiser of the shipped recipe, against PyTorch's own."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from arbstyle.training.muon import Muon, orthogonalize
from arbstyle.training.resuming import drop_retired_weights


def train(parameters: list[Tensor], optimizer: torch.optim.Optimizer, steps: int = 5) -> None:
    """Follow gradients that depend on nothing but the step and the parameter's place."""
    for step in range(steps):
        for number, parameter in enumerate(parameters):
            generator = torch.Generator().manual_seed(100 * step + number)
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def parameters(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


@pytest.mark.parametrize("shape", [(8, 8), (5, 40), (40, 5)])
def test_orthogonalizing_keeps_singular_vectors_and_evens_out_values(shape: tuple[int, int]):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    values = u.T @ orthogonalize(matrix).float() @ vh.T
    assert ((values.diagonal() > 0.6) & (values.diagonal() < 1.3)).all()
    torch.testing.assert_close(values, values.diagonal().diag(), atol=0.05, rtol=0)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon of its own")
def test_matrices_move_as_with_pytorchs_muon():
    ours = parameters((6, 10), (10, 6))
    theirs = copy.deepcopy(ours)
    train(ours, Muon(ours, lr=0.01))
    train(theirs, torch.optim.Muon(theirs, lr=0.01, weight_decay=0, adjust_lr_fn="match_rms_adamw"))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_a_convolutions_weights_are_a_matrix_in_either_memory_format():
    (flat,) = parameters((6, 36))
    weights = [nn.Parameter(flat.detach().clone().view(6, 4, 3, 3)) for _ in range(2)]
    weights[1].data = weights[1].data.contiguous(memory_format=torch.channels_last)
    optimizer = Muon([flat, *weights], lr=0.1)
    for step in range(3):
        flat.grad = torch.randn(6, 36, generator=torch.Generator().manual_seed(step))
        for weight in weights:
            weight.grad = flat.grad.view(6, 4, 3, 3).clone()
        optimizer.step()
    for weight in weights:
        torch.testing.assert_close(weight.flatten(1), flat)


def test_vectors_move_as_with_adam():
    ours = parameters((7,), ())
    theirs = copy.deepcopy(ours)
    train(ours, Muon(ours, lr=0.01, betas=(0.8, 0.9)))
    train(theirs, torch.optim.Adam(theirs, lr=0.01, betas=(0.8, 0.9)))
    torch.testing.assert_close(ours, theirs)


def test_going_on_from_a_saved_state_is_the_same():
    whole, halves = parameters((6, 10), (7,)), parameters((6, 10), (7,))
    first, second = Muon(whole), Muon(halves)
    train(whole, first)
    train(halves, second)
    reloaded = Muon(halves)
    reloaded.load_state_dict(copy.deepcopy(second.state_dict()))
    train(whole, first, steps=2)
    train(halves, reloaded, steps=2)
    torch.testing.assert_close(halves, whole, atol=0, rtol=0)


def test_parameters_without_gradients_stay_and_a_closure_is_called():
    moving, still = parameters((3, 3), (3, 3))
    before = still.detach().clone()

    def loss() -> Tensor:
        moving.grad = None
        value = moving.square().sum()
        value.backward()
        return value

    optimizer = Muon([moving, still], lr=0.05)
    losses = [optimizer.step(loss).item() for _ in range(20)]
    assert losses[-1] < losses[0]
    assert torch.equal(still, before)


class Old(nn.Module):
    """Three weights, of which the middle one is to be dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.idle, self.last = parameters((4, 3), (4,), (2, 4))


class New(nn.Module):
    retired: ClassVar[dict[str, str]] = {"idle": "first"}

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = parameters((4, 3), (2, 4))


@pytest.mark.parametrize("kind", [Muon, torch.optim.Adam])
def test_a_run_goes_on_without_a_weight_that_a_later_version_dropped(kind: Any):
    def groups_of(module: nn.Module) -> list[dict[str, Any]]:  # not in the module's own order
        others = [each for each in module.parameters() if each is not module.last]
        return [{"params": [module.last]}, {"params": others}]

    old = Old()
    optimizer = kind(groups_of(old), lr=0.1)
    train([old.first, old.last, old.idle], optimizer)
    checkpoint: dict[str, Any] = copy.deepcopy(
        {"state_dict": old.state_dict(), "optimizer_states": [optimizer.state_dict()]}
    )
    new = New()
    groups = groups_of(new)
    every = [parameter for group in groups for parameter in group["params"]]
    drop_retired_weights(checkpoint, new, groups, every)
    new.load_state_dict(checkpoint["state_dict"])
    resumed = kind(groups_of(new), lr=0.1)
    resumed.load_state_dict(checkpoint["optimizer_states"][0])
    train([old.first, old.last, old.idle], optimizer)
    train([new.first, new.last], resumed)
    assert torch.equal(old.first, new.first)
    assert torch.equal(old.last, new.last)

"""Starting a styler from a trained one that has less: fewer sites, or fewer styles."""

from __future__ import annotations

import torch
from torch import nn

from arbstyle.errors import ArbstyleError
from arbstyle.networks.norm import ConditionalSite
from arbstyle.networks.state import load_own_state, own_state
from arbstyle.networks.style_encoders.bank import StyleTable
from arbstyle.networks.styler import ArbitraryStyler


@torch.no_grad()
def graft(trained: ArbitraryStyler, styler: ArbitraryStyler) -> None:
    """Start a styler from a trained one that is the same but for sites it lacks, such as noise.

    New sites start with small random numbers, nearly the same for every style.

    Raises:
        ArbstyleError: they differ in more than that.
    """
    load_own_state(styler.style_encoder, own_state(trained.style_encoder))
    state = trained.transformer.state_dict()
    unknown = state.keys() - styler.transformer.state_dict().keys()
    known = {
        site: place
        for place, site in trained.transformer.named_modules()
        if isinstance(site, ConditionalSite)
    }
    places = {known[site]: site for site in trained.transformer.sites}
    if unknown or not isinstance(trained.head, nn.Linear) or not isinstance(styler.head, nn.Linear):
        raise ArbstyleError("the model to start from is of another architecture, not one with fewer sites")
    styler.transformer.load_state_dict(state, strict=False)
    for place, site in styler.transformer.named_modules():
        if not isinstance(site, ConditionalSite):
            continue
        weight, bias = site.take(styler.head.weight.T).T, site.take(styler.head.bias[None])[0]
        if place in places:
            weight.copy_(places[place].take(trained.head.weight.T).T)
            bias.copy_(places[place].take(trained.head.bias[None])[0])
        else:
            weight.normal_(std=0.01)
            bias.copy_(site.neutral()).add_(0.05 * torch.randn_like(bias))


def extend_bank(trained: ArbitraryStyler, larger: ArbitraryStyler) -> int:
    """Give a trained bank the rows that a larger one has more; returns how many it had.

    Raises:
        ArbstyleError: one of them is not a bank, or there is no row to add.
    """
    if not isinstance(trained.head, StyleTable) or not isinstance(larger.head, StyleTable):
        raise ArbstyleError(
            "styles can only be added to a model trained as a StyleBank, by a StyleBank config"
        )
    had, wanted = len(trained.head.rows), len(larger.head.rows)
    if wanted <= had:
        raise ArbstyleError(
            f"the trained bank has {had} styles already: set num_styles above that, not {wanted}"
        )
    for _ in range(wanted - had):
        trained.head.add_row()
    return had

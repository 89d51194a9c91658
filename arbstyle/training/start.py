"""Where training starts: the weights of another model, and which of the new model's weights train."""

from __future__ import annotations

from arbstyle.networks.growing import extend_bank, graft
from arbstyle.networks.model_file import describe_styler, load_styler
from arbstyle.networks.state import load_own_state, own_state
from arbstyle.networks.style_encoders.moments import MomentsEncoder
from arbstyle.networks.styler import ArbitraryStyler
from arbstyle.training.settings import StartSettings


def start_from_model(styler: ArbitraryStyler, start: StartSettings, vgg_weights: str | None) -> int:
    """Give a styler the weights of the model that training starts from, if there is one.

    Args:
        styler: changed in place.
        start: names the model.
        vgg_weights: for models that contain a VGG.

    Returns:
        the row of the bank at which new styles begin; 0 unless only new styles train.
    """
    if start.model is None:
        return 0
    trained, _ = load_styler(start.model, vgg_weights)
    if start.new_styles_only:
        first_style = extend_bank(trained, styler)
        load_own_state(styler, own_state(trained))
        styler.requires_grad_(False)
        for row in list(styler.head.parameters())[first_style:]:
            row.requires_grad_(True)
        return first_style
    if describe_styler(trained) == describe_styler(styler):
        load_own_state(styler, own_state(trained))
    else:
        graft(trained, styler)
    return 0


def train_descriptions_only(styler: ArbitraryStyler) -> None:
    """Freeze all that a MomentsEncoder's descriptions don't depend on.

    Several processes would wait for the gradient of what gets none.
    """
    styler.requires_grad_(False)
    styler.style_encoder.requires_grad_(True)
    if isinstance(styler.style_encoder, MomentsEncoder):
        styler.style_encoder.to_code.requires_grad_(False)

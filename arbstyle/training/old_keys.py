"""Keys of earlier configs: they still work, and a line says what each is called now."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

logger = logging.getLogger(__name__)

Change = Callable[[Any], Any]

_GROUPS = {
    "loss": (
        "content_layers",
        "style_layers",
        "content_weight",
        "style_weight",
        "tv_weight",
        "identity_weight",
        "moments_weight",
        "style_statistic",
        "content_target",
        "style_bound",
        "vgg_weights",
        "pooling",
        "normalize_filters",
    ),
    "optimization": (
        "optimizer",
        "learning_rate",
        "encoder_rate",
        "betas",
        "schedule",
        "warmup_steps",
        "inverse_decay",
        "average_decay",
        "draft_every",
        "compile",
    ),
    "start": ("new_styles_only",),
    "logging": ("picture_every",),
}

NEW_KEYS: dict[str, str] = {
    **{f"model.{key}": f"model.{group}.{key}" for group, keys in _GROUPS.items() for key in keys},
    "model.balance": "model.loss.relative_errors",
    "model.network": "model.loss.vgg",
    "model.remember_targets": "model.loss.cache_targets",
    "model.paint": "model.optimization.encoder_only",
    "model.init_from": "model.start.model",
    "data.variants": "data.crops_per_picture",
}
"""Old key → the key that took its place."""

_OPPOSITES = {"model.paint"}


def renamed_settings(config: Any) -> Any:
    """A config, as read from a file, with new keys for old ones, at any depth; anything else as it is."""
    if not isinstance(config, dict):
        return config
    if "model" not in config and "data" not in config:
        return {key: renamed_settings(value) for key, value in config.items()}
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    found = []
    for old, new in NEW_KEYS.items():
        section, key = old.split(".")
        settings = result.get(section)
        if not isinstance(settings, dict) or key not in settings:
            continue
        value = settings.pop(key)
        place = settings
        *groups, name = new.split(".")[1:]
        for group in groups:
            place[group] = dict(place.get(group) or {})
            place = place[group]
        place.setdefault(name, not value if old in _OPPOSITES else value)
        found.append(old)
    _tell(found)
    return result


def renamed_arguments(arguments: Sequence[str]) -> list[str]:
    """Words of a command line with new names for old ones."""
    result: list[str] = []
    found = []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        old = flag.removeprefix("--")
        if not flag.startswith("--") or old not in NEW_KEYS:
            result.append(word)
            continue
        found.append(old)
        value = value if equals else next(words, "")
        if old in _OPPOSITES:
            value = "false" if value.lower() in ("true", "yes", "1") else "true"
        result += [f"--{NEW_KEYS[old]}", value]
    _tell(found)
    return result


def _tell(found: Sequence[str]) -> None:
    if found:
        logger.warning("old settings: %s", ", ".join(f"{old} is now {NEW_KEYS[old]}" for old in found))

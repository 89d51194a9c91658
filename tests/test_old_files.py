"""Files of an earlier version: model, style, checkpoint and config still work.

The files in old_files/ were written by commit f2de458, before settings had groups: three steps of
`arbstyle train` with a tiny network, then `arbstyle style save` and `arbstyle stylize`.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from arbstyle import Stylizer
from arbstyle.cli import main
from arbstyle.images import read_image
from arbstyle.networks import load_styler, save_styler
from arbstyle.painting import fingerprint
from arbstyle.perception import psnr
from arbstyle.training.old_keys import NEW_KEYS

FILES = Path(__file__).resolve().parent / "old_files"


@pytest.fixture
def old_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the earlier version left it, with pictures to go on with; it is the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    for kind, picture in (("content", "photo"), ("style", "style")):
        folder = tmp_path / "sets" / kind
        folder.mkdir(parents=True)
        for copy in range(5):
            shutil.copy(FILES / f"{picture}.png", folder / f"{copy}.png")
    shutil.copy(FILES / "config.yaml", tmp_path)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(gzip.decompress((FILES / "last.ckpt.gz").read_bytes()))
    return tmp_path


def test_an_old_model_paints_what_it_painted():
    stylizer = Stylizer.from_pretrained(FILES / "model.safetensors", "cpu", "fp32")
    painted = stylizer.stylize(read_image(FILES / "photo.png"), str(FILES / "style.png"))
    assert psnr(painted, read_image(FILES / "painted.png")) > 45  # the file is rounded to 8 bits


def test_an_old_style_file_holds_what_the_model_says_of_its_picture_today():
    stylizer = Stylizer.from_pretrained(FILES / "model.safetensors", "cpu", "fp32")
    known = stylizer.style(FILES / "style.safetensors")
    assert known.name == "0"
    again = stylizer.style(FILES / "style.png").code
    torch.testing.assert_close(known.code, again, atol=0.02, rtol=0.02)  # it was encoded in bfloat16


def test_weights_without_effect_leave_the_networks_but_not_the_file(tmp_path: Path):
    styler, information = load_styler(FILES / "model.safetensors")
    name = "transformer.to_fine.bias"
    assert name not in styler.state_dict()
    saved = save_styler(styler, tmp_path / "again.safetensors", information)
    for each in (styler, load_styler(saved)[0]):
        assert fingerprint(each) == "8d6e129da24868ed", "what the version of then called it"
    then, now = load_file(FILES / "model.safetensors"), load_file(saved)
    assert then.keys() == now.keys() >= {name}
    assert all(torch.equal(then[key], now[key]) for key in then)


def test_an_old_checkpoint_is_exported_as_it_was(old_run: Path):
    exported = old_run / "again.safetensors"
    assert main(["export", str(old_run / "run" / "checkpoints" / "last.ckpt"), "-o", str(exported)]) == 0
    then, now = load_file(FILES / "model.safetensors"), load_file(exported)
    assert then.keys() == now.keys()
    assert all(torch.equal(then[key], now[key]) for key in then)


def test_an_old_run_goes_on_and_is_told_each_new_name(old_run: Path, caplog: pytest.LogCaptureFixture):
    go_on = ["--ckpt_path", "last", "--trainer.max_steps", "4", "--trainer.default_root_dir", "run"]
    assert main(["train", "fit", "--config", "config.yaml", *go_on]) == 0
    (line,) = [record.message for record in caplog.records if record.message.startswith("old settings")]
    for old in ("model.balance", "model.network", "model.paint", "data.variants", "model.init_from"):
        assert f"{old} is now {NEW_KEYS[old]}" in line
    checkpoint = torch.load(old_run / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    assert any(key.startswith("moments_head.") for key in checkpoint["state_dict"])
    assert not any(key.endswith("to_fine.bias") for key in checkpoint["state_dict"])

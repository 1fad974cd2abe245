import os

import pytest
import torch

from batchnorm._files import write_atomically
from batchnorm.errors import RunError
from batchnorm.lab.records import Damage
from batchnorm.lab.store import RunFolder, TrialFiles


def test_a_failed_write_leaves_the_old_content_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    write_atomically(path, b"old")

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "[1]", "{", "\x00"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        RunFolder(tmp_path).read_json("config.json")


def test_weights_and_checkpoints_come_back_and_their_damage_is_found(tmp_path):
    files = TrialFiles(tmp_path, "t")
    tensors = {"model.weight": torch.randn(3, 2), "step": torch.tensor(4)}
    files.save_checkpoint(tensors)
    loaded = files.load_checkpoint()
    assert torch.equal(loaded["model.weight"], tensors["model.weight"])
    checkpoint = tmp_path / "t.checkpoint"
    content = bytearray(checkpoint.read_bytes())
    content[-1] ^= 1
    checkpoint.write_bytes(content)
    assert isinstance(files.load_checkpoint(), Damage)
    files.finish({"weight": torch.ones(2)}, {"end": "diverged", "step": 3})
    assert not checkpoint.exists()
    assert files.history((0, 5), (), weights=True).damage is None
    (tmp_path / "t.safetensors").write_bytes(b"rubbish")
    assert "weights do not match" in str(files.history((0, 5), (), weights=True).damage)
    (tmp_path / "t.safetensors").unlink()
    assert "weights are missing" in str(files.history((0, 5), (), weights=True).damage)

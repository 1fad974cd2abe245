import pytest
import torch

from batchnorm.errors import RunError
from batchnorm.lab.records import Damage, TrialFiles
from batchnorm.lab.running._store import RunFolder


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

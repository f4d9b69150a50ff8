"""Loading models: folders, adapters, and what cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import byte_tokenizer, small_model
from peft import LoraConfig, get_peft_model

from fspo import FspoError, load_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_model().save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_with_and_without_an_adapter(folder: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(str(folder))
    ids = torch.tensor([tokenizer("abc")["input_ids"]])
    plain = small_model()(ids).logits
    assert model.dtype == torch.float32  # on every CPU, also on those that are good at bfloat16
    torch.testing.assert_close(model(ids).logits, plain)
    assert tokenizer.model_max_length == 4096
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    adapted.peft_config["default"].base_model_name_or_path = str(folder)
    adapted.save_pretrained(tmp_path / "adapter")
    for loaded in (
        load_model(str(folder), tmp_path / "adapter"),
        load_model(str(tmp_path / "adapter")),
    ):
        torch.testing.assert_close(loaded[0](ids).logits, adapted(ids).logits)
        assert not torch.allclose(loaded[0](ids).logits, plain)


def test_what_cannot_be_loaded_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FspoError, match="'nobody/none' cannot be loaded"):
        load_model("nobody/none")
    with pytest.raises(FspoError, match="holds no LoRA adapter"):
        load_model(str(folder), tmp_path)
    # A pickled checkpoint is passed over, never opened.
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/no'\ntR.")
    with pytest.raises(FspoError, match="cannot be loaded"):
        load_model(str(folder))

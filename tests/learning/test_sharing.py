"""What policy and reference share, against computing it for each."""

from __future__ import annotations

import pytest
import torch
from conftest import FAMILIES, byte_tokenizer, small_model
from peft import LoraConfig, PeftModel, get_peft_model

from fspo import Episode, EpisodeTree, Preference
from fspo.learning.exactness import reads_paths
from fspo.learning.policy import reference_logps, shared_with_reference
from fspo.learning.scoring import response_logps

TOKENIZER = byte_tokenizer()


def adapted(family: str, layers: list[int] | None) -> PeftModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = LoraConfig(
            r=4,
            target_modules=["dense"] if family == "gpt_neox" else ["q_proj", "o_proj"],
            layers_to_transform=layers,
            init_lora_weights=False,
        )
        return get_peft_model(small_model(family), config)


def trees(words: list[str]) -> list[EpisodeTree]:
    pairs = [Preference(f"about {word}", f"{word}!", f"no {word}") for word in words]
    return [EpisodeTree.from_episode(Episode("u", pairs), TOKENIZER)]


def priced(model: PeftModel, read: list[EpisodeTree]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat(reference_logps(model, None, read)), torch.cat(response_logps(model, read))


@pytest.mark.parametrize("layers", [None, [1]])
@pytest.mark.parametrize("family", FAMILIES)
def test_values_and_gradients_are_those_of_two_whole_passes(
    family: str, layers: list[int] | None
) -> None:
    results = []
    for sharing in (False, True):
        model = adapted(family, layers)
        bottom = model.get_base_model().base_model.layers[0]
        with shared_with_reference(model, None):  # what a model can do is found out at first
            reads_paths(model)
        passes: list[object] = []
        bottom.mlp.register_forward_hook(lambda *_, passes=passes: passes.append(1))
        for words in (["red", "green"], ["blue", "pink", "white"]):
            model.zero_grad()
            passes.clear()
            if sharing:
                with shared_with_reference(model, None):
                    reference, policy = priced(model, trees(words))
            else:
                reference, policy = priced(model, trees(words))
            (policy * torch.arange(1.0, len(policy) + 1)).sum().backward()
            assert len(passes) == (1 if sharing and layers else 2)
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        results.append((reference, policy.detach(), gradients))
    (reference, policy, gradients), (shared_reference, shared_policy, shared_gradients) = results
    assert not torch.allclose(reference, policy)
    torch.testing.assert_close(shared_reference, reference)
    torch.testing.assert_close(shared_policy, policy)
    torch.testing.assert_close(shared_gradients, gradients)
    assert gradients


def test_a_pass_that_fails_leaves_the_model_as_it_was() -> None:
    model = adapted("llama", [1])
    before = response_logps(model, trees(["red"]))

    def fail() -> None:
        with shared_with_reference(model, None):
            reference_logps(model, None, trees(["green"]))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    torch.testing.assert_close(response_logps(model, trees(["red"])), before)


@pytest.mark.parametrize(
    "besides",
    [
        {"modules_to_save": ["embed_tokens"]},
        {"trainable_token_indices": list(range(100))},
        {"modules_to_save": ["layers.0.input_layernorm"]},
        {"modules_to_save": ["norm"]},
    ],
    ids=str,
)
def test_what_learns_besides_an_adapter_of_upper_layers_is_not_shared(
    besides: dict[str, list[int] | list[str]],
) -> None:
    results = []
    for sharing in (False, True):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            config = LoraConfig(
                r=2,
                target_modules=["q_proj"],
                layers_to_transform=[1],
                init_lora_weights=False,
                **besides,
            )
            model = get_peft_model(small_model(), config)
            for weight in model.parameters():
                if weight.requires_grad:  # as if it had learned something
                    weight.data += 0.1 * torch.randn_like(weight)
        with shared_with_reference(model, None if sharing else model):
            reference, policy = priced(model, trees(["red", "green"]))
        policy.sum().backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
        results.append((reference, policy.detach(), gradients))
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-4)
    assert all(gradient is not None for gradient in results[1][2].values())

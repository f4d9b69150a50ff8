"""Every causal model that transformers knows: its log-probs are right, or it is refused."""

from __future__ import annotations

import warnings
from copy import deepcopy

import pytest
import torch
from architectures import causal_kinds, small_architecture
from conftest import byte_tokenizer, small_model
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertLMHeadModel, GPTNeoConfig, GPTNeoForCausalLM
from transformers.pytorch_utils import Conv1D

from fspo import Episode, EpisodeTree, FspoError, Preference, completion_logps
from fspo.learning.exactness import reads_paths
from fspo.learning.policy import Policy
from fspo.learning.scoring import response_ends, response_logps
from fspo.learning.tree_builder import Pair, TreeBuilder

TOKENIZER = byte_tokenizer()
REFUSED = {
    "cpmant": "it reads ahead",
    "prophetnet": "its decoder gives several streams",
    "reformer": "it draws at random what it attends to",
    "xlm": "it reads ahead",
}
CARRYING_ON = ["bloom", "lfm2", "mamba", "qwen3_5_text"]  # read path by path


def small_tree(targets: int) -> EpisodeTree:
    """Longer than windows are, and without a template's long opening."""
    draw = torch.Generator().manual_seed(targets)

    def some(count: int) -> list[int]:
        return torch.randint(3, 259, (count,), generator=draw).tolist()

    builder = TreeBuilder(some(3))
    for _ in range(targets):
        builder.chain += some(5)
        pair = Pair([], [*some(4), 0], [*some(6), 0])
        builder.add_target(pair)
        builder.chain += [*some(2), *pair.rejected]
    builder.chain.pop()
    return EpisodeTree("u", *builder.build())


TREES = [small_tree(3), small_tree(1)]


def alone(model: torch.nn.Module, tree: EpisodeTree) -> torch.Tensor:
    """The log-prob of each response by the model's own forward pass of what it stands behind."""
    found = []
    for response in tree.responses:
        context = tree.path(response.rows[0])
        ids = torch.tensor([[*context, *response.tokens]])
        logps = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
        own = logps[len(context) - 1 : -1].gather(1, torch.tensor(response.tokens)[:, None])
        found.append(own.sum())
    return torch.stack(found)


def adapted(model: torch.nn.Module, lowest: int) -> torch.nn.Module:
    """With a random adapter on all linear modules in the layers from `lowest` on."""
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and name.rsplit(".", 1)[-1] != "out_proj"  # which PEFT does not take in state-space layers
        and any(f".{layer}." in name for layer in range(lowest, 2))
    ]
    return get_peft_model(model, LoraConfig(target_modules=linear, init_lora_weights=False))


@pytest.mark.parametrize("kind", causal_kinds())
def test_log_probs_are_those_of_the_models_own_forward_pass_or_it_is_refused(kind: str) -> None:
    model = small_architecture(kind)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        if kind in REFUSED:
            with pytest.raises(FspoError, match=rf"models of kind {kind} are not supported"):
                response_logps(model, TREES)
            return
        for tree, logps in zip(TREES, response_logps(model, TREES), strict=True):
            torch.testing.assert_close(logps, alone(model, tree), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["granite", "cohere", "gemma2", "falcon_h1", *CARRYING_ON])
def test_gradients_are_those_of_the_models_own_forward_pass(kind: str) -> None:
    """Of all weights, and of an adapter with the head frozen."""
    for with_adapter in (False, True):
        models = [small_architecture(kind) for _ in range(2)]
        if with_adapter:
            models = [adapted(models[0], 0)]
            models.append(deepcopy(models[0]))
        torch.cat(response_logps(models[0], TREES)).sum().backward()
        torch.cat([alone(models[1], tree) for tree in TREES]).sum().backward()
        some = 0
        for (name, ours), own in zip(
            models[0].named_parameters(), models[1].parameters(), strict=True
        ):
            if own.grad is not None and own.grad.abs().max() > 0:
                torch.testing.assert_close(ours.grad, own.grad, atol=1e-3, rtol=1e-3, msg=name)
                some += 1
        assert some > 3


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bloom", "falcon", "gemma3n_text", "lfm2"])
def test_a_policy_with_its_adapter_in_the_last_layer_has_the_right_margins(kind: str) -> None:
    """Lower layers are run once for policy and reference where that is the same, and only there."""
    model = adapted(small_architecture(kind), 1)
    policy = Policy(model, TOKENIZER, "chain", 1.0, {})
    with torch.no_grad():
        for tree, margins in zip(TREES, policy.margins(TREES), strict=True):
            with model.disable_adapter():
                before = alone(model, tree)
            expected = alone(model, tree) - before
            assert expected.abs().max() > 0.01
            torch.testing.assert_close(margins, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["llama", *CARRYING_ON])
def test_hidden_states_at_the_ends_are_those_of_the_texts_alone(kind: str) -> None:
    model = small_architecture(kind)
    with torch.no_grad():
        for tree, ends in zip(TREES, response_ends(model, TREES), strict=True):
            for response, end in zip(tree.responses, ends, strict=True):
                ids = [*tree.path(response.rows[0]), *response.tokens[:-1]]
                own = model.base_model(input_ids=torch.tensor([ids]), use_cache=False)
                torch.testing.assert_close(end, own.last_hidden_state[0, -1], atol=1e-4, rtol=1e-4)


def test_a_window_that_a_small_tree_does_not_show_is_taken_into_account() -> None:
    config = GPTNeoConfig(vocab_size=259, hidden_size=32, num_layers=2, num_heads=4,
                          attention_types=[[["global", "local"], 1]], window_size=64)  # fmt: skip
    torch.manual_seed(0)
    model = GPTNeoForCausalLM(config).eval()
    preferences = [Preference("q" * 30, "yes" * 5, "no" * 9) for _ in range(3)]
    tree = EpisodeTree.from_episode(Episode("u", preferences), TOKENIZER)
    with torch.no_grad():
        [found] = response_logps(model, [tree])
        torch.testing.assert_close(found, alone(model, tree), atol=1e-3, rtol=0)


def test_a_model_that_reads_ahead_is_refused() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48}
    model = BertLMHeadModel(BertConfig(vocab_size=259, num_attention_heads=4, **sizes)).eval()
    for _ in range(2):  # the second time, too
        with pytest.raises(FspoError, match=r"this model: models of kind bert are not supported"):
            completion_logps(model, TREES)


def test_the_check_leaves_a_model_that_learns_as_it_was() -> None:
    model = small_model().train()
    model.lm_head.eval()
    assert not reads_paths(model)
    assert model.training
    assert not model.lm_head.training

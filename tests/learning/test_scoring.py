"""The tree against the definition: every prompt and response scored on its own."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import FAMILIES, byte_tokenizer, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch.nn.attention.flex_attention import create_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from fspo import Episode, EpisodeTree, Preference, completion_logps
from fspo.learning import attention, scoring
from fspo.learning.scoring import response_logps

TOKENIZER = byte_tokenizer()
MODELS = {family: small_model(family) for family in FAMILIES}

HEADINGS = ["## Question\n", "\n\n## Preferred Response\nyes", "## Dispreferred Response", "# Task"]
texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(HEADINGS)
answers = texts.filter(bool) | st.sampled_from(["a", "é", "<|end|>", "日本"])
preferences = st.builds(Preference, texts, answers, answers)
episodes = st.builds(Episode, st.just("u"), st.lists(preferences, min_size=1, max_size=5))
blocks = st.sampled_from([1, 7, 32, 128])


@contextmanager
def in_blocks(columns: int) -> Iterator[None]:
    """Branches are read so many columns at a time, as a CPU reads those of longer trees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "_COLUMNS", columns)
        yield


def separately(model: torch.nn.Module, context: list[int], response: list[int]) -> torch.Tensor:
    """log pi(response | context) by a plain forward pass over the two, one after the other."""
    logits = model(input_ids=torch.tensor([context + response])).logits[0].float()
    logps = logits.log_softmax(-1)[len(context) - 1 : -1]
    return logps.gather(1, torch.tensor(response)[:, None]).sum()


def check_against_separate(model: torch.nn.Module, trees: list[EpisodeTree]) -> None:
    for tree, (chosen, rejected) in zip(trees, completion_logps(model, trees), strict=True):
        assert len(chosen) == len(rejected) == len(tree.contexts)
        for k, context in enumerate(tree.contexts):
            expected = separately(model, context, tree.chosen[k])
            torch.testing.assert_close(chosen[k], expected, atol=1e-4, rtol=1e-6)
            expected = separately(model, context, tree.rejected[k])
            torch.testing.assert_close(rejected[k], expected, atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize("template", ["chain", "paper"])
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=15, deadline=None)
@given(batch=st.lists(episodes, min_size=1, max_size=3), columns=blocks)
def test_equals_scoring_every_response_separately(
    family: str, template: str, batch: list[Episode], columns: int
) -> None:
    trees = [EpisodeTree.from_episode(e, TOKENIZER, template) for e in batch]
    with torch.no_grad(), in_blocks(columns):
        check_against_separate(MODELS[family], trees)


@contextmanager
def packed(kernel: Any = flex_attention) -> Iterator[None]:
    """Trees are packed as on CUDA, with FlexAttention as it is before it is compiled."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is not compiled
        patch.setattr(attention, "packs", lambda causal: True)
        patch.setattr(attention, "flex_kernel", lambda: kernel)
        yield


def differentiable(query: Any, key: Any, value: Any, block_mask: Any, **options: Any) -> Any:
    """What FlexAttention computes; on a CPU that has no backward pass."""
    length = query.shape[-2]
    mask = create_mask(block_mask.mask_mod, 1, 1, length, length, "cpu")
    return scaled_dot_product_attention(query, key, value, mask, **options)


@pytest.mark.parametrize("template", ["chain", "paper"])
@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"gemma2"}))
@settings(max_examples=6, deadline=None)
@given(batch=st.lists(episodes, min_size=1, max_size=3))
def test_packed_trees_equal_scoring_every_response_separately(
    family: str, template: str, batch: list[Episode]
) -> None:
    trees = [EpisodeTree.from_episode(e, TOKENIZER, template) for e in batch]
    with packed(), torch.no_grad():
        check_against_separate(MODELS[family], trees)


@pytest.mark.parametrize("family", ["llama", "mistral"])
@settings(max_examples=4, deadline=None)
@given(batch=st.lists(episodes, min_size=1, max_size=3))
def test_gradients_of_packed_trees_are_those_of_trees_side_by_side(
    family: str, batch: list[Episode]
) -> None:
    trees = [EpisodeTree.from_episode(e, TOKENIZER) for e in batch]
    model = with_lora(family)
    beside = gradients(model, margins(completion_logps(model, trees)))
    with packed(differentiable):
        together = gradients(model, margins(completion_logps(model, trees)))
    assert together.keys() == beside.keys()
    for name, gradient in beside.items():
        scale = max(1.0, gradient.abs().max().item())
        torch.testing.assert_close(together[name], gradient, atol=1e-4 * scale, rtol=0)


def test_trees_are_packed_on_cuda_alone_and_not_where_the_kernel_lacks_something() -> None:
    def on(device: str, model: Any = MODELS["llama"], **settings: Any) -> bool:
        config = copy.deepcopy(model.config)
        vars(config).update(settings)
        return attention.packs(
            SimpleNamespace(
                device=torch.device(device), config=config, training=True, _supports_flex_attn=True
            )
        )

    assert on("cuda")
    assert not on("cpu")
    assert not on("cuda", attention_dropout=0.1)
    assert not on("cuda", MODELS["gemma2"])  # its scores have a soft cap: eager attention


def gradients(model: torch.nn.Module, value: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    value.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def margins(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """A loss that weighs each response otherwise, so that no gradient can hide behind another."""
    chosen = torch.cat([c for c, _ in pairs])
    rejected = torch.cat([r for _, r in pairs])
    weights = torch.arange(1.0, len(chosen) + 1)
    return (weights * chosen - weights.flip(0) * rejected).sum() / 100


def with_lora(family: str) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        return get_peft_model(small_model(family), config)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=4, deadline=None)
@given(batch=st.lists(episodes, min_size=1, max_size=2), columns=blocks)
def test_gradients_equal_those_of_scoring_separately(
    family: str, lora: bool, batch: list[Episode], columns: int
) -> None:
    model = with_lora(family) if lora else small_model(family)
    trees = [EpisodeTree.from_episode(e, TOKENIZER) for e in batch]
    with in_blocks(columns):
        together = gradients(model, margins(completion_logps(model, trees)))
    pairs = [
        (
            torch.stack(
                [separately(model, c, y) for c, y in zip(t.contexts, t.chosen, strict=True)]
            ),
            torch.stack(
                [separately(model, c, y) for c, y in zip(t.contexts, t.rejected, strict=True)]
            ),
        )
        for t in trees
    ]
    apart = gradients(model, margins(pairs))
    assert together.keys() == apart.keys()
    for name, gradient in apart.items():
        scale = max(1.0, gradient.abs().max().item())
        torch.testing.assert_close(together[name], gradient, atol=1e-4 * scale, rtol=0)


def test_many_rows_go_through_the_output_layer_in_chunks(tokenizer) -> None:
    pair = Preference("q", "x" * 700, "y" * 300)
    tree = EpisodeTree.from_episode(Episode("u", [pair, pair]), tokenizer)
    with torch.no_grad():
        check_against_separate(MODELS["llama"], [tree])


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("soft_cap", [None, 5.0])
def test_gradients_of_the_output_layer_are_the_slopes(
    trainable: bool, soft_cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against finite differences in double precision, over chunks of which the last is short."""
    monkeypatch.setattr(scoring, "_ROWS_AT_ONCE", 3)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(7, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    weights = torch.randn(11, 5, dtype=torch.float64, generator=generator)
    weights.requires_grad_(trainable)
    targets = torch.randint(11, (7,), generator=generator)

    def logps(hidden: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        def head(rows: torch.Tensor) -> torch.Tensor:
            logits = rows @ weights.T
            return soft_cap * (logits / soft_cap).tanh() if soft_cap else logits

        # As in a loss: each row's share differs.
        return scoring._row_logps(hidden, targets, head, trainable) * torch.arange(1, 8)

    assert torch.autograd.gradcheck(logps, (hidden, weights))


def test_lower_precision_gives_nearly_the_same(tokenizer) -> None:
    model = with_lora("llama")
    pairs = [Preference(f"q{k}", "yes " * 9, "no " * 9) for k in range(5)]
    tree = EpisodeTree.from_episode(Episode("u", pairs), tokenizer)
    (exact,) = response_logps(model, [tree])
    with torch.autocast("cpu", torch.bfloat16):
        (near,) = response_logps(model, [tree])
    torch.testing.assert_close(near, exact, rtol=0.01, atol=0)
    found = gradients(model, near.mean())
    for name, gradient in gradients(model, exact.mean()).items():
        assert (found[name] - gradient).norm() < 0.05 * gradient.norm()


def test_eager_attention_takes_the_same_tree(tokenizer) -> None:
    model = small_model()
    model.set_attn_implementation("eager")
    pairs = [Preference("q", "yes", "no"), Preference("w", "nein", "ja")]
    with torch.no_grad():
        check_against_separate(model, [EpisodeTree.from_episode(Episode("u", pairs), tokenizer)])


@settings(max_examples=25, deadline=None)
@given(
    shots=st.lists(preferences, max_size=3), prompt=texts, candidates=st.lists(answers, min_size=1)
)
def test_candidates_are_priced_as_targets_are(
    shots: list[Preference], prompt: str, candidates: list[str]
) -> None:
    model = MODELS["llama"]
    tree = EpisodeTree.from_candidates("u", shots, prompt, candidates, TOKENIZER)
    with torch.no_grad():
        (together,) = response_logps(model, [tree])
        for answer, logp in zip(candidates, together, strict=True):
            pair = Preference(prompt, answer, "other")
            alone = EpisodeTree.from_episode(Episode("u", [*shots, pair]), TOKENIZER)
            ((chosen, _),) = completion_logps(model, [alone])
            torch.testing.assert_close(logp, chosen[-1], atol=1e-4, rtol=1e-6)

"""An adapter for each user: what one step does, that it learns, and that it leaves no trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import byte_tokenizer, small_model

from fspo import FspoError, Preference, Preferences, User
from fspo.learning.policy import load_policy
from fspo.learning.train import train
from fspo.llm.sampling import Sampling
from fspo.methods.build import methods, trained
from fspo.methods.fspo.method import InContext
from fspo.methods.method import Task
from fspo.methods.untrained import PersonalRecipe
from fspo.methods.untrained.personal import PersonalLora, load_personal
from fspo.preferences.writing import save_preferences
from fspo.recipe import Lora, TrainRecipe

SETTINGS = Sampling(max_tokens=6)
FAST = PersonalRecipe(steps=6, learning_rate=2e-2, lora=Lora(rank=4, alpha=8))
USER = User("u")
SHOTS = [Preference(f"q{k}", "yes", "no") for k in range(3)]
TARGETS = [Preference("new?", "yes", "no"), Preference("newer?", "yes", "no")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, and a policy without users that learned to like "maybe"."""
    folder = tmp_path_factory.mktemp("personal")
    small_model().save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
    by_user = {f"u{n}": [Preference(f"q{k}", "maybe", "no") for k in range(4)] for n in range(2)}
    save_preferences(Preferences(by_user), folder / "data", "")
    for out, lora in (("ipo", Lora(rank=4)), ("full", None)):
        settings = TrainRecipe(
            data=str(folder / "data"), out=str(folder / out), model=str(folder / "model"),
            shots=0, episodes=8, learning_rate=1e-3, beta=0.1, lora=lora, warmup_steps=0,
        )  # fmt: skip
        train(settings)
    return folder


def weights_of(method: PersonalLora) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in method._policy.model.state_dict().items()}


def test_it_learns_the_users_taste_and_without_shots_it_is_its_start(place: Path) -> None:
    method = load_personal(str(place / "model"), FAST, SETTINGS)
    odds = method.log_odds(USER, SHOTS, TARGETS, [0, 1, 3])
    assert (odds[0] == 0).all()
    assert (odds[1:] > 0.1).all()
    against = [Preference(s.prompt, s.rejected, s.chosen) for s in SHOTS]
    assert (method.log_odds(USER, against, TARGETS, [3]) < -0.1).all()
    started = load_personal(
        str(place / "model"), FAST.model_copy(update={"start": str(place / "ipo")}), SETTINGS
    )
    policy = InContext("IPO", load_policy(place / "ipo"), SETTINGS)
    expected = policy.log_odds(USER, [], TARGETS, [0])
    assert np.array_equal(started.log_odds(USER, SHOTS, TARGETS, [0]), expected)
    assert (started.log_odds(USER, SHOTS, TARGETS, [3]) > expected + 0.1).all()


def test_every_count_is_as_if_it_were_asked_alone(place: Path) -> None:
    method = load_personal(str(place / "model"), FAST, SETTINGS)
    together = method.log_odds(USER, SHOTS, TARGETS, [0, 1, 2, 3])
    for count in (3, 1):
        alone = load_personal(str(place / "model"), FAST, SETTINGS)
        assert np.array_equal(
            alone.log_odds(USER, SHOTS[:count], TARGETS, [count])[0], together[count]
        )


@pytest.mark.parametrize("start", [None, "ipo"])
def test_the_adapter_is_restored_to_the_bit(place: Path, start: str | None) -> None:
    recipe = FAST.model_copy(update={"start": start and str(place / start)})
    method = load_personal(str(place / "model"), recipe, SETTINGS)
    before = weights_of(method)
    method.log_odds(USER, SHOTS, TARGETS, [1, 3])
    method.answer([Task(USER, SHOTS, ["new?"])], 0)
    wild = recipe.model_copy(update={"learning_rate": 1e30, "steps": 3})
    with pytest.raises(FspoError, match="user 'u': the loss is nan at step 2"):
        PersonalLora(method._policy, wild, SETTINGS).log_odds(USER, SHOTS, TARGETS, [2])
    after = weights_of(method)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_step_is_adam_on_the_objective(place: Path) -> None:
    """DPO from a new adapter: h is 0, so the loss's slope is -beta / 2 times that of h.

    Adam's first step is the learning rate against the gradient's sign, whatever its size.
    """
    recipe = FAST.model_copy(update={"steps": 1})
    method = load_personal(str(place / "model"), recipe, SETTINGS)
    model, tokenizer = method._policy.model, method._policy.tokenizer
    model.set_adapter("default")
    lead = (
        "Each question is followed by the response that one person prefers, and by a response "
        "that this person likes less.\n\n## Question\nq0\n\n## Preferred Response\n"
    )
    before = tokenizer(lead, add_special_tokens=False)["input_ids"]

    def logp(answer: str) -> torch.Tensor:
        ids = [*tokenizer(answer, add_special_tokens=False)["input_ids"], 0]
        logits = model(torch.tensor([[*before, *ids]])).logits[0, len(before) - 1 : -1]
        return logits.log_softmax(-1)[range(len(ids)), ids].sum()

    weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
    slopes = torch.autograd.grad(logp("yes") - logp("no"), list(weights.values()))
    start = {name: weight.detach().clone() for name, weight in weights.items()}
    checked = 0
    with method._fine_tuned(USER, SHOTS[:1]):
        for (name, weight), slope in zip(weights.items(), slopes, strict=True):
            clear = slope.abs() > 1e-3
            moved = (weight.detach() - start[name])[clear]
            expected = recipe.learning_rate * slope[clear].sign()
            torch.testing.assert_close(moved, expected, atol=1e-5, rtol=1e-3)
            checked += int(clear.sum())
    assert checked > 100


def test_answers_come_from_the_users_own_adapter_and_depend_on_the_seed(place: Path) -> None:
    method = load_personal(str(place / "model"), FAST, SETTINGS)
    task = Task(USER, SHOTS, ["new?", "newer?"])
    assert method.answer([task], 1) == method.answer([task], 1) != method.answer([task], 2)
    both = method.answer([task, Task(USER, [], task.prompts)], 1)
    assert both[0] == method.answer([task], 1)[0]
    assert both[0] != both[1]


def test_its_name_makes_it(place: Path) -> None:
    first, *_ = methods(trained([place / "ipo"]), ["LoRA per user"], SETTINGS)
    assert first.name == "LoRA per user"
    assert first.log_odds(USER, SHOTS, TARGETS, [0]).tolist() == [[0, 0]]


def test_a_policy_without_an_adapter_is_refused(place: Path) -> None:
    with pytest.raises(FspoError, match=r"start: .*full: holds no LoRA adapter"):
        load_personal("", PersonalRecipe(start=str(place / "full")), SETTINGS)

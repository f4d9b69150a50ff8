"""VPL against its equations, recomputed in numpy, and its training on a small model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import byte_tokenizer, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from fspo import FspoError, Preference, Preferences, User, load_preferences
from fspo.learning.episodes import EpisodeDataset
from fspo.learning.policy import load_policy
from fspo.methods.table import train
from fspo.methods.vpl import VplSettings as Vpl
from fspo.methods.vpl import train as vpl_train
from fspo.methods.vpl.embeddings import Asked, both_answers, embed
from fspo.methods.vpl.latent import LatentReward, Posterior, load_vpl
from fspo.methods.vpl.train import Draws, VplTrainer
from fspo.preferences.writing import save_preferences
from fspo.recipe import Lora, TrainRecipe

WEIGHTS = "vpl.safetensors"
ADAPTER = "adapter_model.safetensors"
WIDTH = 6


def small_reward() -> LatentReward:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LatentReward(WIDTH, Vpl(latent=3, hidden=5)).double()


def vectors(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def naive_loss(
    reward: LatentReward, shots: np.ndarray, targets: np.ndarray, noise: np.ndarray, weight: float
) -> float:
    """The bound with loops over pairs, from the weights alone."""
    w = {name: value.numpy() for name, value in reward.state_dict().items()}

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    def perceptron(name: str, x: np.ndarray) -> np.ndarray:
        for layer in (0, 2):
            x = linear(f"{name}.{layer}", x)
            x = np.where(x > 0, x, 0.2 * x)
        return linear(f"{name}.4", x)

    def norm(x: np.ndarray) -> np.ndarray:
        scaled = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        return w["norm.weight"] * scaled + w["norm.bias"]

    mean = log_variance = np.zeros(reward.latent)
    if len(shots):
        pairs = [perceptron("pair", np.concatenate([norm(c), norm(r)])) for c, r in shots]
        attended = []
        for one in pairs:
            scores = [
                linear("query", one) @ linear("key", other) / len(one) ** 0.5 for other in pairs
            ]
            shares = np.exp(scores) / np.exp(scores).sum()
            values = [linear("value", other) for other in pairs]
            attended.append(sum(s * v for s, v in zip(shares, values, strict=True)))
        pooled = np.mean(attended, axis=0)
        mean, log_variance = linear("mean", pooled), linear("log_variance", pooled)
    z = mean + np.sqrt(np.exp(log_variance)) * noise
    kl = sum(0.5 * (m**2 + np.exp(v) - 1 - v) for m, v in zip(mean, log_variance, strict=True))
    gaps = [
        perceptron("reward", np.concatenate([norm(c), z]))[0]
        - perceptron("reward", np.concatenate([norm(r), z]))[0]
        for c, r in targets
    ]
    return float(np.mean([np.log1p(np.exp(-gap)) for gap in gaps]) + weight * kl)


@pytest.mark.parametrize("shots", [0, 1, 4])
def test_the_loss_is_the_negative_bound(shots: int) -> None:
    reward, noise = small_reward(), vectors(1, 3)
    seen, asked = vectors(2, shots, 2, WIDTH), vectors(3, 3, 2, WIDTH)
    bound = reward.bound(seen, asked, noise, 0.3)
    expected = naive_loss(reward, seen.numpy(), asked.numpy(), noise.numpy(), 0.3)
    assert bound.loss.item() == pytest.approx(expected, rel=1e-9)


def test_the_divergence_is_the_mean_of_log_ratios() -> None:
    """KL(q || p) is the mean over draws from q of log q(z) - log p(z)."""
    posterior = Posterior(torch.tensor([0.5, -1.0, 0.0]), torch.tensor([0.3, -2.0, 0.0]))
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([posterior.sample(n) for n in torch.randn(100_000, 3, generator=generator)])
    q = torch.distributions.Normal(posterior.mean, (posterior.log_variance / 2).exp())
    ratios = (q.log_prob(draws) - torch.distributions.Normal(0, 1).log_prob(draws)).sum(1)
    error = ratios.std() / len(ratios) ** 0.5
    assert abs(posterior.kl() - ratios.mean()) < 4 * error
    assert error < 0.01


def test_without_shots_the_posterior_is_the_prior() -> None:
    posterior = small_reward().posterior(vectors(0, 0, 2, WIDTH))
    assert posterior.kl() == 0
    assert torch.equal(posterior.sample(vectors(1, 3)), vectors(1, 3))


@settings(deadline=None)
@given(order=st.permutations(range(6)), seed=st.integers(0, 99))
def test_the_order_of_shots_does_not_matter(order: list[int], seed: int) -> None:
    reward, shots = small_reward(), vectors(seed, 6, 2, WIDTH)
    one, other = reward.posterior(shots), reward.posterior(shots[order])
    torch.testing.assert_close(one.mean, other.mean)
    torch.testing.assert_close(one.log_variance, other.log_variance)
    exchanged = reward.posterior(shots.flip(1))  # but what was chosen does
    assert not torch.allclose(one.mean, exchanged.mean)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model, and users of which half like answers that the others do not."""
    folder = tmp_path_factory.mktemp("vpl")
    small_model().save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
    by_user, users = {}, []
    for number in range(24):
        split = "train" if number < 16 else "test"
        rows = []
        for i in range(10):
            noun = ("day", "sea", "tea", "owl", "map")[(number // 2 + i) % 5]
            pair = [f"{noun}: good", f"{noun}: bad"]
            chosen, rejected = pair if number % 2 else pair[::-1]
            rows.append(Preference(f"{split} {i}?", chosen, rejected))
        by_user[f"u{number}"] = rows
        users.append(User(f"u{number}", split=split))
    save_preferences(Preferences(by_user, users), folder / "data", "")
    return folder


def recipe(place: Path, out: str, **changes: Any) -> TrainRecipe:
    defaults: dict[str, Any] = {
        "method": "vpl",
        "data": str(place / "data"),
        "out": str(place / out),
        "model": str(place / "model"),
        "shots": 4,
        "episodes": 60,
        "batch_size": 4,
        "micro_batch_size": 4,
        "log_every": 1,
        "save_every": 3,
        "learning_rate": 3e-3,
        "warmup_steps": 0,
        "vpl": Vpl(latent=4, hidden=128),
        "lora": Lora(rank=4, alpha=8),
    }
    return TrainRecipe.model_validate(defaults | changes)


def log_of(folder: Path) -> list[dict[str, float]]:
    log: list[dict[str, float]] = json.loads((folder / "training_log.json").read_text())
    return log


@pytest.mark.parametrize("frozen", [True, False])
def test_losses_are_those_of_the_draws_with_a_weight_that_rises(place: Path, frozen: bool) -> None:
    vpl = Vpl(latent=4, hidden=128, frozen=frozen, kl=0.5, annealing=0.5)
    told = recipe(place, f"first-{frozen}", vpl=vpl, learning_rate=1e-30, episodes=16)
    out = train(told)
    trained = load_vpl(out)
    episodes = EpisodeDataset(load_preferences(told.data).of("train"), byte_tokenizer(), told)
    draws = Draws(episodes, told)
    for step, weight in enumerate([0.0, 0.25, 0.5, 0.5]):
        losses = []
        for draw in (draws[4 * step + place] for place in range(4)):
            with torch.no_grad():
                parts = (draw.shots, draw.targets)
                read = [trained.read_pairs("", part).numpy() for part in parts]
            losses.append(naive_loss(trained.reward, *read, draw.noise.numpy(), weight))
        assert log_of(out)[step]["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_draws_split_episodes_everywhere_and_depend_on_the_seed(place: Path) -> None:
    told = recipe(place, "", episodes=400, paired=True)
    episodes = EpisodeDataset(load_preferences(told.data).of("train"), byte_tokenizer(), told)
    draws, again = Draws(episodes, told), Draws(episodes, told)
    counts = Counter()
    for index in range(400):
        draw = draws[index]
        assert [*draw.shots, *draw.targets] == episodes.episode(index).preferences
        assert len(draw.shots) == len(draws[index ^ 1].shots)  # of a pair of opposites
        assert torch.equal(draw.noise, again[index].noise)
        counts[len(draw.shots)] += 1
    assert set(counts) == {0, 1, 2, 3, 4}
    assert min(counts.values()) > 40
    noise = torch.stack([draws[index].noise for index in range(400)])
    assert abs(noise.mean()) < 0.1
    assert abs(noise.std() - 1) < 0.1


def test_only_answers_that_are_drawn_are_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset may hold millions, of which a run draws few; each of these is read once."""
    told = recipe(place, "few-read", episodes=2, vpl=Vpl(latent=4, hidden=128, frozen=True))
    read: list[Asked] = []

    def counted(model: Any, tokenizer: Any, asked: Sequence[Asked], **settings: Any) -> Any:
        read.extend(asked)
        return embed(model, tokenizer, asked, **settings)

    monkeypatch.setattr(vpl_train, "embed", counted)
    train(told)
    episodes = EpisodeDataset(load_preferences(told.data).of("train"), byte_tokenizer(), told)
    rows = [row for index in range(2) for row in episodes.episode(index).preferences]
    drawn = {(row.prompt, text) for row in rows for text in (row.chosen, row.rejected)}
    assert sorted((one.prompt, one.answer) for one in read) == sorted(drawn)


def accuracy(folder: Path, place: Path, shots: int) -> float:
    """On users that training has not seen, by the reward's own definition."""
    trained, hits = load_vpl(folder), []
    for user, rows in load_preferences(place / "data").of("test").by_user.items():
        with torch.no_grad():
            z = trained.reward.posterior(trained.read_pairs(user, rows[:shots])).mean
            rewards = trained.reward.rewards(trained.read_pairs(user, rows[5:]), z)
        hits += (rewards[:, 0] > rewards[:, 1]).tolist()
    return float(np.mean(hits))


def test_users_of_opposite_taste_are_told_apart_after_a_few_shots(place: Path) -> None:
    told = recipe(place, "tells", episodes=1600, batch_size=16, micro_batch_size=16, log_every=20)
    out = train(told)
    assert 0.3 < accuracy(out, place, 0) < 0.7
    assert accuracy(out, place, 3) > 0.9
    assert not (out / "checkpoints").exists()
    last = log_of(out)[-1]
    assert last["accuracy_3_shots"] > 0.9
    assert last["kl"] > 0.1  # nats: the posterior has not collapsed to the prior


def test_an_adapter_learns_to_read_answers(place: Path) -> None:
    vpl = Vpl(latent=4, hidden=128, frozen=False)
    out = train(recipe(place, "adapter", vpl=vpl, episodes=8))
    assert any(w.abs().max() > 0 for n, w in load_file(out / ADAPTER).items() if "lora_B" in n)
    pairs = load_preferences(place / "data").by_user["u0"][:2]
    learned = load_vpl(out).read_pairs("u0", pairs)
    as_it_came = embed(small_model(), byte_tokenizer(), both_answers("u0", pairs))
    assert not torch.allclose(as_it_came.view_as(learned), learned)


@pytest.mark.parametrize("frozen", [True, False])
def test_an_interrupted_run_resumes_to_the_same_weights(
    place: Path, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    vpl = Vpl(latent=4, hidden=128, frozen=frozen)
    whole = train(recipe(place, f"whole-{frozen}", vpl=vpl))
    told = recipe(place, f"cut-{frozen}", vpl=vpl)
    save = VplTrainer._save

    def save_and_stop(self: VplTrainer, *args: Any, **kwargs: Any) -> None:
        save(self, *args, **kwargs)
        if self.state.global_step == 9:  # between the weights and the state of a checkpoint
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(VplTrainer, "_save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(told)
    assert not (place / f"cut-{frozen}" / "fspo.json").exists()
    resumed = train(told, resume=True)
    for file in (WEIGHTS, *([] if frozen else [ADAPTER])):
        for name, weights in load_file(whole / file).items():
            assert torch.equal(weights, load_file(resumed / file)[name]), name
    assert [line["step"] for line in log_of(resumed)] == list(range(1, 16))


def test_faults_are_named(place: Path) -> None:
    with pytest.raises(FspoError, match="adapter: method vpl starts from a model without one"):
        train(recipe(place, "f1", adapter="somewhere"))
    with pytest.raises(FspoError, match="lora: method vpl trains an adapter, or"):
        train(recipe(place, "f2", lora=None, vpl=Vpl(frozen=False)))
    with pytest.raises(FspoError, match=r"the loss is (inf|nan) on the episodes of 'u\d"):
        train(recipe(place, "f3", learning_rate=1e30))
    out = train(recipe(place, "f4", episodes=4))
    with pytest.raises(FspoError, match="holds a reward of method vpl, not a policy"):
        load_policy(out)
    (out / WEIGHTS).write_bytes(b"no tensors")
    with pytest.raises(FspoError, match=r"vpl\.safetensors: cannot be used with model"):
        load_vpl(out)

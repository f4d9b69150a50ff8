"""GPO: what its network may depend on, and what it learns from users of known taste."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tastes import NOBODY, accuracy, cold_or_hot, opposite_tastes, swapped

from fspo.errors import FspoError
from fspo.llm.pretend import pretend_embedder
from fspo.methods import gpo
from fspo.methods.gpo import Gpo, train_gpo
from fspo.methods.gpo.network import Network
from fspo.preferences.records import Preference, Preferences

NEW = opposite_tastes(users=10, rows=16, seed=2)
UNSEEN = opposite_tastes(users=10, rows=16, seed=3, split="unseen")


@pytest.fixture(scope="module")
def trained() -> Gpo:
    return train_gpo(opposite_tastes(users=60, rows=20, seed=1), cold_or_hot, steps=60)


@pytest.fixture
def network() -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network(embedding=6, width=16, layers=2, heads=4).double().eval()


def random_input(pairs: int, targets: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(1, 2 * pairs + targets, 6, generator=generator, dtype=torch.float64) / 2
    present = torch.ones(1, pairs, dtype=torch.bool)
    return drawn[:, : 2 * pairs].unflatten(1, (pairs, 2)), present, drawn[:, 2 * pairs :]


def test_the_network_by_a_loop_over_tokens(network):
    pairs, present, targets = random_input(pairs=3, targets=2)
    project = network.project
    context = [network.nobody]
    context += [project(c * 6**0.5) - project(r * 6**0.5) for c, r in pairs[0]]
    points = [project(t * 6**0.5) for t in targets[0]]
    for layer in network.layers:

        def through(token, layer=layer, context=tuple(context)):
            query = layer.query(layer.norm(token)).split(4)
            heads = []
            for head in range(4):
                part = slice(4 * head, 4 * head + 4)
                both = [layer.key_value(layer.norm(other)) for other in context]
                weights = torch.stack([query[head] @ kv[:16][part] / 2 for kv in both]).softmax(0)
                heads.append(sum(w * kv[16:][part] for w, kv in zip(weights, both, strict=True)))
            token = token + layer.out(torch.cat(heads))
            return token + layer.feed_forward(token)

        context, points = [through(t) for t in context], [through(t) for t in points]
    expected = torch.stack([network.score(network.norm(point)) for point in points]).T
    torch.testing.assert_close(network(pairs, present, targets), expected)


def test_the_order_of_pairs_carries_nothing(network):
    pairs, present, targets = random_input(pairs=5, targets=3)
    found = network(pairs, present, targets)
    for order in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        torch.testing.assert_close(network(pairs[:, order], present, targets), found)
    turned = network(pairs.flip(2), present, targets)
    assert (turned - found).abs().min() > 1e-6  # but which of the two was chosen does


def test_targets_see_the_context_and_not_each_other(network):
    pairs, present, targets = random_input(pairs=5, targets=3)
    found = network(pairs, present, targets)
    torch.testing.assert_close(network(pairs, present, targets[:, 1:2]), found[:, 1:2])
    other = targets.clone()
    other[:, 0] = 9.0
    torch.testing.assert_close(network(pairs, present, other)[:, 1:], found[:, 1:])


def test_pairs_that_are_not_there_are_not_seen(network):
    pairs, present, targets = random_input(pairs=5, targets=3)
    present[:, 3:] = False
    found = network(pairs, present, targets)
    torch.testing.assert_close(network(pairs[:, :3], present[:, :3], targets), found)
    present[:] = False
    nothing = network(pairs, present, targets)
    torch.testing.assert_close(network(pairs[:, :0], present[:, :0], targets), nothing)


def test_gradients_reach_every_weight(network):
    pairs, present, targets = random_input(pairs=5, targets=3)
    network(pairs, present, targets).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name


@pytest.mark.parametrize("preferences", [NEW, UNSEEN], ids=["seen texts", "unseen texts"])
def test_it_learns_opposite_tastes_from_the_shots(trained, preferences):
    assert 0.3 < accuracy(trained, preferences, shots=0) < 0.7
    assert accuracy(trained, preferences, shots=1) > 0.9
    assert accuracy(trained, preferences, shots=8) > 0.95


@pytest.mark.parametrize("shots", [0, 1, 7])
def test_swapping_a_target_turns_its_sign_and_nothing_else(trained, shots):
    rows = NEW.by_user["user 3"]
    found = trained.log_odds(rows[:shots], rows[shots:], NOBODY)
    assert found.shape == (len(rows) - shots,)
    assert found.dtype == np.float64
    turned = trained.log_odds(rows[:shots], swapped(rows[shots:]), NOBODY)
    np.testing.assert_array_equal(turned, -found)
    one = [*rows[shots:-1], *swapped(rows[-1:])]
    np.testing.assert_array_equal(
        trained.log_odds(rows[:shots], one, NOBODY), [*found[:-1], -found[-1]]
    )


def test_the_order_of_the_shots_changes_no_bit(trained):
    rows = NEW.by_user["user 3"]
    found = trained.log_odds(rows[:7], rows[7:], NOBODY)
    for order in ([6, 5, 4, 3, 2, 1, 0], [3, 1, 5, 0, 2, 6, 4]):
        shots = [rows[place] for place in order]
        np.testing.assert_array_equal(trained.log_odds(shots, rows[7:], NOBODY), found)


def test_targets_alone_are_as_together(trained):
    rows = UNSEEN.by_user["user 4"]
    together = trained.log_odds(rows[:6], rows[6:], NOBODY)
    alone = [trained.log_odds(rows[:6], [row], NOBODY)[0] for row in rows[6:]]
    assert together == pytest.approx(alone, abs=1e-4)
    assert trained.log_odds(rows[:6], [], NOBODY).shape == (0,)


def test_the_same_seed_trains_the_same_network():
    training = opposite_tastes(users=6, rows=5, seed=1)
    rows = NEW.by_user["user 0"]
    state = torch.random.get_rng_state()
    one, same, other = (
        train_gpo(training, cold_or_hot, seed, steps=4).log_odds(rows[:3], rows[3:], NOBODY)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_best_weights_along_the_way_are_kept(monkeypatch):
    seen = []

    def see(best, loss):
        seen.append((loss, best._network.score.weight.detach().clone()))
        real(best, loss)

    real = gpo._Best.see
    monkeypatch.setattr(gpo._Best, "see", see)
    # Labels are drawn at random, so what is learned from them does harm.
    generator = np.random.default_rng(0)
    texts = [f"text {n}" for n in range(8)]
    drawn = [[generator.choice(8, 2, replace=False) for _ in range(8)] for _ in range(20)]
    noise = {
        f"{n}": [Preference("?", texts[a], texts[b]) for a, b in d] for n, d in enumerate(drawn)
    }
    found = train_gpo(Preferences(noise), pretend_embedder, steps=40, learning_rate=3e-3)
    assert len(seen) == 20
    least, weights = min(seen, key=lambda pair: pair[0])
    assert least < seen[-1][0]
    assert torch.equal(found._network.score.weight, weights)


def test_a_text_is_embedded_with_its_prompt_and_once():
    asked = []

    def embedder(texts):
        asked.extend(texts)
        return pretend_embedder(texts)

    rows = [Preference("q", "a", "b"), Preference("q", "a", "c"), Preference("r", "a", "c")]
    predictor = train_gpo(Preferences({"u": rows, "v": rows}), embedder, steps=3)
    predictor.log_odds(rows[:1], rows[1:], NOBODY)
    assert sorted(asked) == ["q\na", "q\nb", "q\nc", "r\na", "r\nc"]


def test_nothing_to_train_on_is_said():
    with pytest.raises(FspoError, match="made up: there is nothing to fit on"):
        train_gpo(Preferences({}, source="made up"), cold_or_hot)

"""The simple predictors against cases worked by hand, plain loops, and users of known taste."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tastes import NOBODY, accuracy, cold_or_hot, opposite_tastes, swapped

from fspo.errors import FspoError
from fspo.llm.pretend import pretend_embedder
from fspo.methods.baselines import simple, vectors
from fspo.methods.baselines.factors import Factors
from fspo.methods.baselines.simple import EmbeddingLogistic, Longer, Majority, Nearest
from fspo.preferences.factors import ResponseFactors
from fspo.preferences.logistic import fit_logistic, log_loss
from fspo.preferences.records import Preference, Preferences, User


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def made_of(training: Preferences, embedder=cold_or_hot) -> list:
    return [
        Majority(training),
        Longer(training),
        Factors(ResponseFactors(training, rng())),
        Nearest(training, embedder, rng()),
        EmbeddingLogistic(training, embedder, rng(), population=False),
        EmbeddingLogistic(training, embedder, rng(), population=True),
    ]


TRAINING = opposite_tastes(users=40, rows=12, seed=1)
NEW = opposite_tastes(users=10, rows=16, seed=2)
UNSEEN = opposite_tastes(users=10, rows=16, seed=3, split="unseen")
PREDICTORS = made_of(TRAINING)
every = pytest.mark.parametrize("predictor", PREDICTORS, ids=lambda p: p.name)


def test_an_embedder_is_asked_for_each_text_once():
    asked = []

    def embedder(texts):
        asked.extend(texts)
        return pretend_embedder(texts)

    once = vectors.cached(embedder)
    assert vectors.cached(once) is once
    found = once(["b", "a", "b"])
    np.testing.assert_array_equal(found, pretend_embedder(["b", "a", "b"]))
    once(["c", "a"])
    assert asked == ["a", "b", "c"]
    assert once([]).shape == (0, found.shape[1])


@given(
    arrays(np.float64, (5, 3), elements=st.floats(-3, 3)),
    arrays(np.float64, (5,), elements=st.floats(-3, 3)),
    st.floats(0.1, 10),
    st.sampled_from([5, 2, 0]),
)
def test_the_logistic_fit_is_where_its_gradient_is_zero(rows, offsets, l2, count):
    rows, offsets = rows[:count], offsets[:count]
    weights = fit_logistic(rows, l2, offsets)
    at = torch.tensor(weights, requires_grad=True)
    h = torch.tensor(rows) @ at + torch.tensor(offsets)
    (torch.nn.functional.softplus(-h).sum() + l2 / 2 * at.square().sum()).backward()
    assert at.grad.numpy() == pytest.approx(np.zeros(3), abs=1e-4)


def test_the_logistic_fit_of_one_row_by_hand():
    # w = sigmoid(-w) / l2: at w = 1, l2 is sigmoid(-1)
    (weight,) = fit_logistic(np.array([[1.0]]), l2=1 / (1 + math.e))
    assert weight == pytest.approx(1.0)


def test_samples_keep_shots_and_targets_apart():
    samples = vectors.draw_samples(NEW, rng(), most_shots=8, most_targets=4)
    assert sorted(s.user_id for s in samples) == sorted(NEW.by_user)
    for sample in samples:
        rows = NEW.by_user[sample.user_id]
        drawn = [id(p) for p in (*sample.shots, *sample.targets)]
        assert len(drawn) == len(set(drawn))
        assert set(drawn) <= {id(p) for p in rows}
        assert len(sample.targets) == 4
    assert len(vectors.draw_samples(NEW, rng(), most_users=3)) == 3
    prompts = Preferences({"a": [Preference(q, "x", "y") for q in "abcaabbcab"]})
    for seed in range(20):
        (sample,) = vectors.draw_samples(prompts, rng(seed), most_shots=3)
        apart = not {p.prompt for p in sample.shots} & {p.prompt for p in sample.targets}
        assert apart or {p.prompt for p in sample.shots} == set("abc")
    alone = Preferences({"a": [Preference("?", "x", "y")], "b": []})
    (sample,) = vectors.draw_samples(alone, rng())
    assert (len(sample.shots), len(sample.targets)) == (0, 1)


def test_users_and_prompts_are_held_out_together():
    rows = [Preference(f"prompt {n}", "x", "y") for n in range(20)]
    everyone = Preferences({f"user {n}": rows for n in range(30)})
    training, samples = vectors.hold_out(everyone, rng(), most_shots=8)
    assert len(training.by_user) == 27
    assert len(samples) == 3
    assert not {s.user_id for s in samples} & training.by_user.keys()
    asked = {p.prompt for s in samples for p in s.targets}
    assert len(asked) == 2
    assert not asked & {p.prompt for _, p in training}
    assert not asked & {p.prompt for s in samples for p in s.shots}


def test_one_prompt_is_not_held_out_and_few_users_are_not_split():
    training, samples = vectors.hold_out(TRAINING, rng())
    assert len(training.by_user) == 36
    assert len(samples) == 4
    assert not {s.user_id for s in samples} & training.by_user.keys()
    few = opposite_tastes(users=9, rows=3, seed=0)
    assert vectors.hold_out(few, rng()) == (few, [])


def choices(*pairs: tuple[str, str]) -> list[Preference]:
    return [Preference("?", chosen, rejected) for chosen, rejected in pairs]


def test_the_majority_by_hand():
    training = Preferences({"u": choices(("a", "b"), ("a", "b"), ("b", "a"), ("a", "c"))})
    predictor = Majority(training)
    weight = predictor._weight
    assert weight in simple.PRIOR_VOTES
    asked = choices(("b", "c"), ("a", "b"), ("a", "new"), ("x", "y"))
    found = predictor.log_odds([], asked, NOBODY)
    # a won 3 and lost 1, b 1 and 2, c 0 and 1
    log_odds = {"a": math.log(4 / 2), "b": math.log(2 / 3), "c": math.log(1 / 2)}
    assert found[0] == pytest.approx(log_odds["b"] - log_odds["c"])
    p = 1 / (1 + math.exp(log_odds["b"] - log_odds["a"]))
    assert found[1] == pytest.approx(math.log((2 + weight * p) / (1 + weight * (1 - p))))
    assert found[2] == pytest.approx(log_odds["a"])
    assert found[3] == 0
    other_prompt = [Preference("!", "a", "b")]
    assert predictor.log_odds([], other_prompt, NOBODY)[0] == 0


def test_the_majoritys_weight_is_chosen_with_each_choice_left_out():
    generator = rng(4)
    rows = choices(*[(f"{a}", f"{b + 5}") for a, b in generator.integers(5, size=(60, 2))])
    rows += swapped(rows[:20])
    found = Majority(Preferences({"u": rows}))
    losses = {}
    for weight in simple.PRIOR_VOTES:
        left_out = []
        for place, row in enumerate(rows):
            rest = Majority(Preferences({"u": rows[:place] + rows[place + 1 :]}))
            rest._weight = weight
            left_out.append(rest.log_odds([], [row], NOBODY))
        losses[weight] = log_loss(np.concatenate(left_out))
    assert found._weight == min(losses, key=losses.get)


def test_the_longer_wins_by_the_log_of_its_words():
    rows = choices(*[("four words are here", "two words")] * 300, *[("one", "now two")] * 100)
    predictor = Longer(Preferences({"u": rows}))
    # One coefficient, all differences log 2: 300 for, 100 against, so about log 3 at a doubling.
    found = predictor.log_odds([], choices(("a b c d", "a b"), ("a", "a b c d"), ("", "a")), NOBODY)
    assert found[0] == pytest.approx(math.log(3), abs=0.05)
    assert found[1] == pytest.approx(-2 * found[0])
    assert found[2] == 0  # no word counts as one


def test_the_nearest_neighbors_by_a_loop():
    predictor = Nearest(TRAINING, cold_or_hot, rng())
    rows = NEW.by_user["user 0"]
    shots, targets = rows[:5], rows[5:]

    def score(text):
        votes = [(p.chosen, 1) for p in shots] + [(p.rejected, -1) for p in shots]
        vector = cold_or_hot([text])[0].astype(float)
        weights = [
            math.exp(predictor._sharpness * float(vector @ cold_or_hot([other])[0]))
            for other, _ in votes
        ]
        return sum(w * y for w, (_, y) in zip(weights, votes, strict=True)) / sum(weights)

    expected = [predictor._scale * (score(p.chosen) - score(p.rejected)) for p in targets]
    assert predictor.log_odds(shots, targets, NOBODY) == pytest.approx(expected, rel=1e-4)


def test_the_shots_shift_the_populations_weights():
    predictor = EmbeddingLogistic(TRAINING, cold_or_hot, rng(), population=True)
    rows = UNSEEN.by_user["user 1"]

    def differences(part):
        return np.array(
            [cold_or_hot([p.chosen])[0] - cold_or_hot([p.rejected])[0] for p in part], float
        )

    base = differences(rows[4:]) @ predictor._weights
    assert predictor.log_odds([], rows[4:], NOBODY) == pytest.approx(base)
    shift = torch.zeros(16, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([shift], max_iter=200, line_search_fn="strong_wolfe")
    seen = torch.tensor(differences(rows[:4]))

    def loss():
        optimizer.zero_grad()
        h = seen @ (shift + torch.tensor(predictor._weights))
        value = torch.nn.functional.softplus(-h).sum()
        value = value + predictor._strength / 2 * shift.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    expected = base + differences(rows[4:]) @ shift.detach().numpy()
    assert predictor.log_odds(rows[:4], rows[4:], NOBODY) == pytest.approx(expected, abs=1e-3)


def test_a_few_users_who_choose_by_chance_teach_nothing_of_everybody():
    """Unseen choices by a coin can be foretold no better than by one: a log-loss of ln 2."""
    generator = rng(3)
    texts = [f"text {k}" for k in range(80)]
    vectors_of = dict(zip(texts, generator.normal(size=(80, 64)), strict=True))

    def embed(asked):
        return np.array([vectors_of[text] for text in asked], np.float32).reshape(-1, 64)

    def by_chance(users):
        pairs = {f"u{u}": generator.permutation(80).reshape(-1, 2)[:12] for u in range(users)}
        return Preferences(
            {u: [Preference("q", texts[a], texts[b]) for a, b in own] for u, own in pairs.items()}
        )

    predictor = EmbeddingLogistic(by_chance(9), embed, rng(), True)
    new = [p for _, p in by_chance(40)]
    odds = predictor.log_odds([], new, User("new"))
    assert np.logaddexp(0, -odds).mean() < 0.75


def test_factors_are_where_the_penalized_loss_is_least():
    predictor = Factors(ResponseFactors(TRAINING, rng(), factors=1, l2=0.5))
    again = Factors(ResponseFactors(TRAINING, rng(5), factors=1, l2=0.5))
    rows = NEW.by_user["user 0"]
    # From another start the factor may be mirrored, which changes no prediction.
    one, other = (p.log_odds(rows[:4], rows[4:], NOBODY) for p in (predictor, again))
    assert one == pytest.approx(other, abs=0.02)
    assert predictor.log_odds(rows[:4], choices(("never", "seen")), NOBODY)[0] == 0


@every
def test_more_shots_tell_opposite_tastes_apart_where_the_method_can(predictor):
    without, with_eight = (accuracy(predictor, NEW, shots) for shots in (0, 8))
    assert 0.3 < without < 0.7
    if predictor.name in ("majority", "longer"):
        assert 0.3 < with_eight < 0.7
    else:
        assert with_eight > 0.9


@pytest.mark.parametrize("predictor", PREDICTORS[3:], ids=lambda p: p.name)
def test_what_reads_the_texts_needs_not_have_seen_them(predictor):
    assert accuracy(predictor, UNSEEN, shots=8) > 0.9


@every
@pytest.mark.parametrize("shots", [0, 1, 7])
def test_swapping_a_target_turns_its_sign_and_nothing_else(predictor, shots):
    rows = NEW.by_user["user 3"]
    found = predictor.log_odds(rows[:shots], rows[shots:], NOBODY)
    assert found.shape == (len(rows) - shots,)
    assert found.dtype == np.float64
    turned = predictor.log_odds(rows[:shots], swapped(rows[shots:]), NOBODY)
    np.testing.assert_array_equal(turned, -found)
    one = [*rows[shots:-1], *swapped(rows[-1:])]
    np.testing.assert_array_equal(
        predictor.log_odds(rows[:shots], one, NOBODY), [*found[:-1], -found[-1]]
    )


@every
def test_targets_do_not_look_at_each_other(predictor):
    rows = NEW.by_user["user 4"]
    together = predictor.log_odds(rows[:6], rows[6:], NOBODY)
    alone = [predictor.log_odds(rows[:6], [row], NOBODY)[0] for row in rows[6:]]
    assert together == pytest.approx(alone)
    assert predictor.log_odds(rows[:6], [], NOBODY).shape == (0,)
    assert predictor.log_odds([], [], NOBODY).shape == (0,)


@pytest.mark.parametrize("place", range(len(PREDICTORS)))
def test_nothing_to_fit_on_is_said(place):
    makers = [
        lambda p: Majority(p),
        lambda p: Longer(p),
        lambda p: Factors(ResponseFactors(p, rng())),
        lambda p: Nearest(p, cold_or_hot, rng()),
        lambda p: EmbeddingLogistic(p, cold_or_hot, rng(), population=False),
        lambda p: EmbeddingLogistic(p, cold_or_hot, rng(), population=True),
    ]
    with pytest.raises(FspoError, match="made up: there is nothing to fit on"):
        makers[place](Preferences({}, source="made up"))


def test_one_training_user_with_one_choice_is_enough():
    for predictor in made_of(Preferences({"u": choices(("a cold one", "a hot one"))})):
        found = predictor.log_odds([], choices(("a cold one", "a hot one")), NOBODY)
        assert np.isfinite(found).all()

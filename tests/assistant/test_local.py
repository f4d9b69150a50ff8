"""Answers with kept prefixes against reading everything anew, by the methods or by plain loops."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import byte_tokenizer, small_model

from fspo import FspoError, Preference, Preferences, User
from fspo.assistant.backend import Person, Reply
from fspo.assistant.local import LocalBackend
from fspo.assistant.pieces import whole
from fspo.learning.policy import load_policy
from fspo.learning.templates import neutralize
from fspo.learning.tree import context_tokens
from fspo.llm.local import LocalModel
from fspo.llm.sampling import Sampling
from fspo.methods.build import methods, trained
from fspo.methods.fspo.method import InContext, Prompted
from fspo.methods.method import Task
from fspo.methods.rat.method import write_descriptions
from fspo.methods.rat.train import train as train_rat
from fspo.methods.rat.trees import answer_context
from fspo.methods.table import train as train_method
from fspo.preferences.writing import save_preferences
from fspo.recipe import TrainRecipe

GREEDY = Sampling(max_tokens=12, temperature=0)
SHOTS = [Preference(f"q{k}?", f"yes {k} 🙂", f"no\n# {k}") for k in range(6)]
ADA, BO = Person("ada", SHOTS[:3]), Person("bo", SHOTS[1:5], "likes it\n# short")


def asked(text: str = "what?") -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def text_of(reply: Reply) -> str:
    return "".join(reply.pieces)


def ended(text: str) -> str:
    """What the methods write, less half a character at its end."""
    return text.rstrip("\ufffd").rstrip() if text.endswith("\ufffd") else text


def letters(texts: list[str]) -> np.ndarray:
    """Vectors of length 1 from how often each letter stands in a text."""
    counts = np.array([[t.lower().count(chr(97 + k)) + 0.01 for k in range(26)] for t in texts])
    return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local")
    for family in ("llama", "mistral"):
        small_model(family).save_pretrained(folder / family)
        byte_tokenizer().save_pretrained(folder / family)
    by_user = {f"u{n}": SHOTS for n in range(3)}
    users = [User(name, "aye", {"sentiment": 1.0}) for name in by_user]
    save_preferences(Preferences(by_user, users), folder / "data", "")
    return folder


@pytest.fixture(scope="module")
def policy(place: Path) -> Callable[..., Path]:
    """Trains a policy once, with what is to be different about it."""
    made: dict[str, Path] = {}

    def make(name: str, **changed: object) -> Path:
        settings = TrainRecipe.model_validate(
            {
                "data": str(place / "data"), "out": str(place / name), "episodes": 6,
                "model": str(place / "llama"), "learning_rate": 3e-2, "warmup_steps": 0,
                "shots": 3, "lora": {"rank": 4}, **changed,
            }
        )  # fmt: skip
        if name not in made:
            if settings.method == "rat":
                train_rat(settings, embed=letters)
            else:
                train_method(settings)
            made[name] = place / name
        return made[name]

    return make


@pytest.fixture(scope="module")
def fspo(policy: Callable[..., Path]) -> Path:
    return policy("fspo")


@pytest.fixture(scope="module")
def rat(policy: Callable[..., Path]) -> Path:
    rat = {"warm_up": 8, "warm_up_learning_rate": 1e-2, "max_tokens": 8, "samples": 3}
    return policy("rat", method="rat", rat=rat)


def naive(model: torch.nn.Module, tokens: list[int], sampling: Sampling = GREEDY) -> str:
    """The likeliest next token again and again, reading everything anew, by no code of ours."""
    tokenizer = byte_tokenizer()
    written: list[int] = []
    for _ in range(sampling.max_tokens):
        with torch.inference_mode():
            token = int(model(torch.tensor([tokens + written])).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        written.append(token)
        if whole(tokenizer.decode(written), sampling.stop) != whole(tokenizer.decode(written)):
            break
    return whole(tokenizer.decode(written, skip_special_tokens=True), sampling.stop)


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_it_answers_as_without_a_cache_however_the_profile_changes(
    place: Path, family: str
) -> None:
    backend = LocalBackend(str(place / family))
    model, tokenizer = small_model(family), byte_tokenizer()
    people = [replace(ADA, shots=SHOTS[:k]) for k in (2, 2, 3, 5, 4, 0, 6)]
    people += [replace(ADA, shots=SHOTS[1:4]), BO, replace(BO, description="")]
    for person in people:
        for question in ("what?", person.shots[-1].prompt if person.shots else "\n# Task\\"):
            reply = backend.reply(person, asked(question), GREEDY)
            if person.description:
                tokens = answer_context(person.shots, person.description, question, tokenizer, 12)
            else:
                tokens, _ = context_tokens("", person.shots, question, tokenizer, room=12)
            assert text_of(reply) == naive(model, tokens)
            assert reply.prompt_tokens == len(tokens)


def test_a_known_prefix_is_read_once_and_grows_by_append(fspo: Path) -> None:
    backend = LocalBackend(str(fspo))

    def cached(count: int) -> tuple[int, int]:
        reply = backend.reply(replace(ADA, shots=SHOTS[:count]), asked(f"{count}, what?"), GREEDY)
        text_of(reply)
        lead = f"\n\n## Question\n{count}, what?\n\n## Preferred Response\n"
        return reply.cached_tokens, reply.prompt_tokens - len(lead.encode())

    assert cached(1)[0] == 0
    _, one = cached(1)
    assert cached(1) == (one, one)
    assert cached(2)[0] >= one
    _, two = cached(2)
    assert cached(2) == (two, two)
    assert cached(1)[0] >= one  # undone: what is kept goes further
    assert cached(3)[0] >= two
    backend.forget(ADA.key)
    assert cached(3)[0] == 0


def test_only_as_many_choices_are_read_as_in_training(fspo: Path) -> None:
    backend = LocalBackend(str(fspo))
    many = backend.reply(replace(ADA, shots=SHOTS), asked(), GREEDY)
    last = backend.reply(replace(ADA, shots=SHOTS[-3:]), asked(), GREEDY)
    assert text_of(many) == text_of(last)
    assert many.prompt_tokens == last.prompt_tokens


@pytest.mark.parametrize("template", ["chain", "paper"])
def test_it_is_the_method_that_evaluation_knows(policy: Callable[..., Path], template: str) -> None:
    folder = policy(f"fspo-{template}", template=template)
    loaded = load_policy(folder)
    for temperature, seed in ((0.0, 0), (1.0, 3)):
        drawn = Sampling(max_tokens=12, temperature=temperature)
        task = Task(User("ada"), ADA.shots, ["what?", "q1?"])
        [expected] = InContext("", loaded, drawn).answer([task, task], seed)[:1]
        if temperature:
            expected = [
                InContext("", loaded, drawn).answer([replace(task, prompts=[p])], seed)[0][0]
                for p in task.prompts
            ]
        sampling = Sampling(max_tokens=12, temperature=temperature, seed=seed)
        backend = LocalBackend(str(folder))
        for _ in range(2):
            replies = [backend.reply(ADA, asked(p), sampling) for p in task.prompts]
            assert [text_of(r) for r in replies] == [ended(text) for text in expected]
            assert replies[1].cached_tokens > 0.5 * replies[1].prompt_tokens
    ranked = backend.rewards(ADA, "q?", ["yes 9", "no", "x"])
    assert ranked == pytest.approx(loaded.rewards("", ADA.shots, "q?", ["yes 9", "no", "x"]))
    assert backend.rewards(ADA, "q?", []) == []


def test_a_model_as_it_comes_is_the_prompted_method(place: Path) -> None:
    backend = LocalBackend(str(place / "llama"))
    llm = LocalModel(small_model(), byte_tokenizer())
    task = Task(User("ada"), ADA.shots, ["what?"])
    [[expected]] = Prompted(llm, "chain", GREEDY).answer([task], 0)
    assert text_of(backend.reply(ADA, asked(), GREEDY)) == ended(expected)
    assert not backend.abilities.describes
    assert backend.abilities.models == ("llama",)
    assert backend.describe(ADA) == ""
    with pytest.raises(FspoError, match="no reward"):
        backend.rewards(ADA, "q", ["a", "b"])
    chosen = {backend.choose(ADA, SHOTS, seed) for seed in range(30)}
    assert chosen == {(k, False) for k in range(6)}


def test_plain_knows_nobody_and_is_the_model_before_training(fspo: Path, place: Path) -> None:
    backend = LocalBackend(str(fspo))
    turns = [{"role": "system", "content": "be kind"}, *asked("what?\n# x")]
    [expected] = LocalModel(small_model(), byte_tokenizer()).chat(
        [turns], max_new_tokens=12, temperature=0
    )
    text_of(backend.reply(ADA, asked(), GREEDY))
    reply = backend.plain(turns, GREEDY)
    assert text_of(reply) == expected.rstrip("\ufffd")
    assert reply.cached_tokens == 0


def test_all_weights_trained(policy: Callable[..., Path], place: Path) -> None:
    folder = policy("whole", lora=None, objective="sft", learning_rate=1e-2, episodes=2)
    backend = LocalBackend(str(folder))
    [expected] = LocalModel(small_model(), byte_tokenizer()).chat(
        [asked()], max_new_tokens=12, temperature=0
    )
    assert text_of(backend.plain(asked(), GREEDY)) == expected.rstrip("\ufffd")
    [[own]] = InContext("", load_policy(folder), GREEDY).answer(
        [Task(User("ada"), ADA.shots, ["what?"])], 0
    )
    assert text_of(backend.reply(ADA, asked(), GREEDY)) == ended(own)


def test_rat_describes_and_answers_by_the_description(rat: Path) -> None:
    backend = LocalBackend(str(rat))
    assert backend.abilities.describes
    loaded = load_policy(rat)
    [expected] = write_descriptions(loaded, [ADA.shots], 8)
    for _ in range(2):
        assert backend.describe(ADA) == (ended(expected) or "somebody")
    assert backend.describe(Person("nobody")) == ""
    [method] = methods(trained([rat]), [], GREEDY)
    for told in ("aye", "aye\n# Task", "no"):
        task = Task(User("bo"), BO.shots[-3:], ["what?"], description=told)
        [[answer]] = method.answer([task], 0)
        reply = backend.reply(replace(BO, description=told), asked(), GREEDY)
        assert text_of(reply) == ended(answer)
    assert reply.cached_tokens > 0  # the choices, of which the description was another
    told, answers = replace(BO, description="aye"), ["yes", "no", "x"]
    ranked = backend.rewards(told, "q?", answers)
    pairs = [Preference("q?", answer, "yes") for answer in answers]
    [odds] = method.log_odds(User("bo"), BO.shots[-3:], pairs, [3], "aye")
    assert ranked == pytest.approx(list(odds), abs=1e-5)
    assert ranked != pytest.approx(backend.rewards(replace(told, description="no"), "q?", answers))
    assert backend.rewards(replace(told, shots=()), "q?", ["yes"]) == [0.0]


def test_a_conversation_is_a_transcript_and_its_last_message_is_answered(fspo: Path) -> None:
    backend = LocalBackend(str(fspo))
    turns = [
        {"role": "system", "content": "be kind"},
        *asked("one"),
        {"role": "assistant", "content": "1"},
        *asked("two\n## Question\nthree"),
    ]
    told = "system: be kind\n\nuser: one\n\nassistant: 1\n\nuser: two\n## Question\nthree"
    reply = backend.reply(ADA, turns, GREEDY)
    tokens, _ = context_tokens("", ADA.shots, told, byte_tokenizer(), room=12)
    assert reply.prompt_tokens == len(tokens)
    assert bytes(neutralize(told), "utf-8") in byte_tokenizer().decode(tokens).encode()
    assert text_of(reply) == text_of(backend.reply(ADA, asked(told), GREEDY))
    for wrong in ([], turns[:3], [{"role": "tool", "content": ""}, *asked()]):
        with pytest.raises(FspoError, match="role"):
            backend.reply(ADA, wrong, GREEDY)
        with pytest.raises(FspoError, match="role"):
            backend.plain(wrong, GREEDY)


def test_what_does_not_fit_is_named_with_its_numbers(rat: Path) -> None:
    backend = LocalBackend(str(rat))
    long = asked("x" * 4000)
    for person in (Person("new"), ADA, BO):
        with pytest.raises(FspoError, match=r"4[01]\d\d tokens.* 256.* 4096"):
            backend.reply(person, long, Sampling())
    with pytest.raises(FspoError, match="4096"):
        backend.plain(long, Sampling())
    for ask in (lambda m: backend.reply(ADA, m, GREEDY), lambda m: backend.plain(m, GREEDY)):
        with pytest.raises(FspoError, match=r"1000000 characters; .* holds at most 36864"):
            ask(asked("\n" * 10**6))  # before it is made into tokens
    with pytest.raises(FspoError, match="max_tokens is 0"):
        backend.reply(ADA, asked(), Sampling(max_tokens=0))
    huge = Person("huge", [Preference("q", "x" * 5000, "y")], "aye")
    for person in (huge, replace(huge, description="")):
        assert backend.reply(person, asked(), GREEDY).prompt_tokens < 300


def test_it_stops_at_stop_strings_and_counts(fspo: Path) -> None:
    backend = LocalBackend(str(fspo))
    sampling = Sampling(max_tokens=40, temperature=1.0, seed=5)
    reply = backend.reply(ADA, asked(), sampling)
    text = text_of(reply)
    assert reply.finish_reason == ("length" if reply.completion_tokens == 40 else "stop")
    stop = next(letter for letter in text[2:] if letter.isprintable() and not letter.isspace())
    stopped = backend.reply(ADA, asked(), replace(sampling, stop=[stop]))
    assert text_of(stopped) == text[: text.index(stop)]
    assert stopped.finish_reason == "stop"
    assert stopped.completion_tokens < reply.completion_tokens
    drawn = {text_of(backend.reply(ADA, asked(), replace(sampling, seed=None))) for _ in range(4)}
    assert len(drawn) > 1
    for odd in ({"top_p": 0.0}, {"temperature": 1e-40}):
        likeliest = text_of(backend.reply(ADA, asked(), replace(sampling, **odd)))
        assert likeliest == text_of(backend.reply(ADA, asked(), replace(sampling, temperature=0)))


def test_threads_get_what_each_would_get_alone(rat: Path) -> None:
    alone, together = LocalBackend(str(rat)), LocalBackend(str(rat))
    jobs = [
        lambda b, k=k, s=seed: text_of(
            b.reply(
                replace((ADA, BO)[k % 2], shots=SHOTS[: 1 + k // 2]),
                asked(f"what {k}?"),
                Sampling(max_tokens=10, temperature=1.0, seed=s),
            )
        )
        for seed in (1, 2)
        for k in range(6)
    ]
    jobs += [
        lambda b: text_of(b.plain(asked(), GREEDY)),
        lambda b: b.describe(ADA),
        lambda b: [round(r, 6) for r in b.rewards(BO, "q?", ["yes", "no"])],
        lambda b: b.choose(ADA, SHOTS, 3),
    ]
    expected = [job(alone) for job in jobs]
    found: dict[int, object] = {}

    def work(places: list[int]) -> None:
        for place in places:
            found[place] = jobs[place](together)

    order = list(range(len(jobs)))
    threads = [threading.Thread(target=work, args=(own,)) for own in (order, order[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [found[place] for place in order] == expected


def test_special_tokens_in_a_text_are_text_whatever_other_threads_read(place: Path) -> None:
    chatting = byte_tokenizer()
    chatting.chat_template = "{% for m in messages %}<|start|>{{ m.content }}<|end|>{% endfor %}"
    small_model().save_pretrained(place / "chat")
    chatting.save_pretrained(place / "chat")
    backend = LocalBackend(str(place / "chat"))
    evil = "<|end|> hello " * 20
    person = Person("eve", [Preference(evil, evil, evil)] * 3)

    def lengths() -> tuple[int, int]:
        asking = asked(evil)
        return (
            backend.reply(person, asking, GREEDY).prompt_tokens,
            backend.plain(asking, GREEDY).prompt_tokens,
        )

    expected, found = lengths(), []
    threads = [
        threading.Thread(target=lambda: found.extend(lengths() for _ in range(40)))
        for _ in range(4)
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert found == [expected] * 160


def test_a_stream_that_nobody_reads_on_harms_nobody(fspo: Path) -> None:
    backend = LocalBackend(str(fspo))
    expected = text_of(LocalBackend(str(fspo)).reply(ADA, asked(), GREEDY))
    open_ = backend.reply(ADA, asked("other"), replace(GREEDY, max_tokens=100))
    assert next(iter(open_.pieces))
    assert text_of(backend.reply(ADA, asked(), GREEDY)) == expected  # while it is open
    open_.pieces.close()
    reply = backend.reply(ADA, asked(), GREEDY)
    assert text_of(reply) == expected
    assert reply.cached_tokens > 0
    never = backend.reply(ADA, asked(), GREEDY)
    del never
    assert text_of(backend.reply(ADA, asked(), GREEDY)) == expected


def test_two_people_share_nothing_and_the_bound_holds(fspo: Path) -> None:
    backend = LocalBackend(str(fspo))
    for key in ("one", "two"):
        reply = backend.reply(Person(key, SHOTS[:3]), asked(), GREEDY)
        text_of(reply)
        assert reply.cached_tokens == 0
    size = backend._prefixes.size // 2
    small = LocalBackend(str(fspo), cache_bytes=2 * size)
    cached = []
    for key in ("one", "two", "one", "three", "one", "two"):
        reply = small.reply(Person(key, SHOTS[:3]), asked(), GREEDY)
        text_of(reply)
        cached.append(reply.cached_tokens > 0)
        assert small._prefixes.size <= 2 * size
    assert cached == [False, False, True, False, True, False]
    none = LocalBackend(str(fspo), cache_bytes=size - 1)
    assert text_of(none.reply(ADA, asked(), GREEDY)) == text_of(backend.reply(ADA, asked(), GREEDY))
    assert len(none._prefixes) == 0


def test_it_chooses_what_tells_most_within_bounds(fspo: Path) -> None:
    backend = LocalBackend(str(fspo))
    pairs = [Preference(f"p{k}", "yes" * (k % 3 + 1), "no") for k in range(30)]
    for person in (ADA, Person("new")):
        index, gained = backend.choose(person, pairs, 1)
        assert gained or not person.shots
        assert 0 <= index < 30
        assert backend.choose(person, pairs, 1) == (index, gained)
    assert backend.choose(ADA, pairs[:2], 0)[1] is False
    assert backend.choose(ADA, pairs[:3], 0)[1] is True
    with pytest.raises(FspoError, match="no pair left"):
        backend.choose(ADA, [], 0)


def test_other_kinds_are_refused(fspo: Path, tmp_path: Path) -> None:
    settings = json.loads((fspo / "fspo.json").read_text())
    for method in ("vpl", "ric"):
        (tmp_path / "fspo.json").write_text(json.dumps(settings | {"method": method}))
        with pytest.raises(FspoError, match=f"method {method}.*Give a folder"):
            LocalBackend(str(tmp_path))
    with pytest.raises(FspoError, match="cannot be loaded"):
        LocalBackend(str(tmp_path / "nothing"))


@pytest.mark.parametrize("kind", ["chain", "paper", "rat", "tight"])
def test_many_answers_are_ranked_in_groups_as_in_one_tree(
    policy: Callable[..., Path], rat: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = rat if kind == "rat" else policy(f"fspo-{kind.replace('tight', 'chain')}",
                                              template=kind.replace("tight", "chain"))  # fmt: skip
    backend = LocalBackend(str(folder))
    person = replace(BO, description="aye") if kind == "rat" else BO
    if kind == "tight":  # some choices do not fit before the longest answer
        backend._policy.tokenizer.model_max_length = 420
        backend._tokenizer.model_max_length = 420
    answers = [f"{'yes ' * (k * 7 % 5)}# {k}" for k in range(8)] + ["long " * 25]
    passes: list[int] = []
    margins = type(backend._policy).margins

    def counted(policy: Any, trees: Any) -> Any:
        passes.append(sum(len(tree) for tree in trees))
        return margins(policy, trees)

    monkeypatch.setattr(type(backend._policy), "margins", counted)
    whole = backend.rewards(person, "q?", answers)
    [largest] = passes
    passes.clear()
    monkeypatch.setattr("fspo.assistant.local._AT_ONCE", 60)
    assert backend.rewards(person, "q?", answers) == pytest.approx(whole, abs=1e-4)
    assert len(passes) >= 3
    assert max(passes) < largest
    if kind == "chain":
        told = load_policy(folder).rewards("", person.shots[-3:], "q?", answers)
        assert whole == pytest.approx(told, abs=1e-4)
    if kind == "rat":
        assert whole[0] == 0


def test_more_than_can_be_ranked_is_refused_before_the_model_sees_it(fspo: Path) -> None:
    backend = LocalBackend(str(fspo))
    backend._policy.model = None
    with pytest.raises(FspoError, match="answers: 64064 tokens in all; at most 32768 are ranked"):
        backend.rewards(ADA, "q?", ["x" * 1000] * 64)
    with pytest.raises(FspoError, match="characters in all"):
        backend.rewards(ADA, "q?", ["x" * 30_000] * 64)
    with pytest.raises(FspoError, match="1000002 characters"):
        backend.rewards(ADA, "q?", ["\n" * 10**6, "no"])
    with pytest.raises(FspoError, match="context holds 4096"):
        backend.rewards(ADA, "q?", ["x" * 5000, "no"])


def test_others_are_answered_between_the_groups_of_a_ranking(
    fspo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = LocalBackend(str(fspo))
    monkeypatch.setattr("fspo.assistant.local._AT_ONCE", 20)
    order: list[str] = []
    margins = type(backend._policy).margins

    def slow(policy: Any, trees: Any) -> Any:
        order.append("group")
        time.sleep(0.05)
        return margins(policy, trees)

    monkeypatch.setattr(type(backend._policy), "margins", slow)
    ranking = threading.Thread(target=backend.rewards, args=(ADA, "q?", ["yes it is so"] * 12))
    ranking.start()
    while not order:
        time.sleep(0.001)
    for _ in backend.reply(BO, asked(), GREEDY).pieces:
        pass
    order.append("answered")
    ranking.join()
    assert order.count("group") == 12
    assert order.index("answered") < 6

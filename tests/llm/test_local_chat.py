"""A local model as a `LanguageModel`, with small random weights."""

import pytest
import torch
from conftest import byte_tokenizer, small_model

from fspo.errors import FspoError
from fspo.llm.local import LocalModel
from fspo.llm.local_chat import LocalChat, batches
from fspo.llm.requests import Request, ask
from fspo.llm.store import CachedModel, Store


@pytest.fixture(scope="module")
def local() -> LocalModel:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"
    )
    return LocalModel(small_model(), tokenizer)


def chat(local: LocalModel, batch_size: int = 4) -> LocalChat:
    return LocalChat("small", lambda: local, batch_size)


def questions(count: int) -> list[Request]:
    return [Request((("user", f"What is {n}?"),), 6, temperature=1.0) for n in range(count)]


def choice(text: str) -> Request:
    return Request((("system", "You choose."), ("user", text)), 1, choices=("A", "B"))


def test_a_choices_probability_is_that_of_its_token_after_the_prompt(local):
    asked = [choice("A or B?"), choice("Now another one, which is longer: A, or rather B?")]
    replies = ask(chat(local), asked)
    for request, reply in zip(asked, replies, strict=True):
        messages = [{"role": role, "content": text} for role, text in request.messages]
        prompt = torch.tensor([local.tokens(messages)])
        with torch.no_grad():
            logits = local.model(prompt).logits[0, -1].double()
        places = [local.tokenizer(letter).input_ids[-1] for letter in "AB"]
        expected = torch.softmax(logits[places], 0)
        assert reply.probabilities == pytest.approx(expected.tolist(), abs=1e-5)
        assert reply.text == "AB"[int(expected.argmax())]


def test_a_choice_that_is_more_than_one_token_is_told(local):
    asked = Request((("user", "x"),), 1, choices=("Yes", "No"))
    with pytest.raises(FspoError, match="'Yes' is 3 tokens to this model"):
        ask(chat(local), [asked])


def test_a_run_that_stopped_after_some_batches_goes_on_to_the_same_replies(local, tmp_path):
    asked = [*questions(11), choice("A or B?"), choice("B or A?")]
    whole = ask(chat(local), asked)
    store = Store(tmp_path / "s")
    stream = CachedModel(chat(local), store).answer(asked)
    next(stream), next(stream)
    stream.close()
    assert 0 < len(store) < len(asked)
    assert ask(CachedModel(chat(local), store), asked) == whole


def test_batches_hold_what_is_sampled_alike_and_every_request_once(local):
    asked = [*questions(7), choice("A or B?"), *questions(9)[7:]]
    asked.append(Request((("user", "cold"),), 6, temperature=0.1))
    cut = list(batches(asked, 4))
    assert sorted(place for batch in cut for place in batch) == list(range(len(asked)))
    for batch in cut:
        assert len(batch) <= 4
        assert len({(asked[p].temperature, asked[p].choices) for p in batch}) == 1
    rest = [asked[place] for batch in cut[1:] for place in batch]
    again = [[rest[place] for place in batch] for batch in batches(rest, 4)]
    assert again == [[asked[place] for place in batch] for batch in cut[1:]]


def test_nothing_is_loaded_before_something_is_asked():
    def load() -> LocalModel:
        raise AssertionError("loaded")

    assert LocalChat("small", load).name == "small in batches of 32"
    with pytest.raises(AssertionError, match="loaded"):
        ask(LocalChat("small", load), questions(1))


def test_tokens_are_counted(local):
    model = chat(local)
    [reply] = ask(model, questions(1))
    assert reply.input_tokens == len(local.tokens([{"role": "user", "content": "What is 0?"}]))
    assert (model._meter.requests, model._meter.input_tokens) == (1, reply.input_tokens)

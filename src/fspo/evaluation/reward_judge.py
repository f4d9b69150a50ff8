"""A reward model as a judge: any sequence-classification model of transformers with one output.

It scores a prompt with an answer and knows nothing of the user: it says which answer is the better
one to people at large, as a check on judges that know the user. Weights are read from safetensors
only, and code that comes with a model is never run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fspo.console import track
from fspo.errors import FspoError
from fspo.evaluation.judges import Item, Judgement
from fspo.letters import letters
from fspo.llm.rendering import filled, rendered, slot
from fspo.preferences.records import User
from fspo.pretrained import read_config, read_tokenizer, read_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_ADVICE = (
    "Give a folder with config.json, tokenizer and safetensors weights of a "
    "sequence-classification model, or a Hugging Face id that this machine can reach."
)


class RewardJudge:
    """Prefers the answer with the higher score."""

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int = 8,
    ) -> None:
        self.name = f"reward: {name}"
        self._model, self._tokenizer = model, tokenizer
        self._batch_size = batch_size if tokenizer.pad_token_id is not None else 1
        self._segments = (getattr(model.config, "type_vocab_size", None) or 0) > 1

    def check(self, users: Sequence[User]) -> None:
        """Nothing: it knows nothing of users."""

    def judge(self, items: Sequence[Item]) -> list[Judgement]:
        """Scores every answer once; equal scores are a tie, and what is too long is malformed."""
        texts = sorted(
            {(i.prompt, text) for i in items for text in (i.answer, i.other)},
            key=lambda pair: sum(map(len, pair)),  # so that a batch has little padding
        )
        scores = dict(zip(texts, self.scores(texts), strict=True))
        return [_judgement(scores[i.prompt, i.answer], scores[i.prompt, i.other]) for i in items]

    def scores(self, texts: Sequence[tuple[str, str]]) -> list[float]:
        """The score of each (prompt, answer); nan for what is longer than the model reads."""
        import torch

        rows = [self._row(prompt, answer) for prompt, answer in texts]
        most = self._tokenizer.model_max_length
        fits = [place for place, row in enumerate(rows) if len(row["input_ids"]) <= most]
        batches = [fits[k : k + self._batch_size] for k in range(0, len(fits), self._batch_size)]
        found = [math.nan] * len(texts)
        for places in track(batches, "Scoring", len(batches)):
            batch = self._tokenizer.pad(
                [rows[place] for place in places],
                padding=self._batch_size > 1,
                padding_side="right",  # the model looks for the last token that is no padding
                return_tensors="pt",
            )
            with torch.inference_mode():
                logits = self._model(**batch.to(self._model.device)).logits
            for place, score in zip(places, logits[:, 0].tolist(), strict=True):
                found[place] = score
        return found

    def _row(self, prompt: str, answer: str) -> dict[str, list[int]]:
        """In the model's chat format if it has one, else as two texts, as encoders want them.

        What somebody wrote must not pass for the end of a turn.
        """
        tokenizer, texts = self._tokenizer, [prompt, answer]
        if tokenizer.chat_template is None:
            return self._pair(letters(tokenizer, texts))
        with_markers = letters(tokenizer, texts) != _read(tokenizer, texts)
        held = [slot(0), slot(1)] if with_markers else texts
        said = [("user", held[0]), ("assistant", held[1])]
        whole = rendered(
            tokenizer, [{"role": role, "content": text} for role, text in said], answered=True
        )
        ids = filled(tokenizer, whole, texts) if with_markers else _read(tokenizer, [whole])[0]
        return {"input_ids": ids, "attention_mask": [1] * len(ids)}

    def _pair(self, texts: Sequence[list[int]]) -> dict[str, list[int]]:
        """Two texts with what the tokenizer puts around them, as it does with any two."""
        # As lists: alone, an empty text would be taken for none.
        around = self._tokenizer(["a"], ["b"], return_token_type_ids=self._segments)
        row = {name: list(own[0]) for name, own in around.items()}
        place = 0
        for text, stand_in in zip(texts, letters(self._tokenizer, ["a", "b"]), strict=True):
            ids = row["input_ids"]
            places = range(place, len(ids))
            place = next(at for at in places if ids[at : at + len(stand_in)] == stand_in)
            for name, own in row.items():
                new = text if name == "input_ids" else [own[place]] * len(text)
                own[place : place + len(stand_in)] = new
            place += len(text)
        return row


def _read(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids


def load_reward_judge(name: str, batch_size: int = 8) -> RewardJudge:
    """The reward model of a folder or a hub id, on the GPU where there is one.

    Raises:
        FspoError: if there is no such model, it has no safetensors weights, or more than one
            output.
    """
    from transformers import AutoModelForSequenceClassification

    what = f"reward model {name!r}"
    config = read_config(name, what, _ADVICE)
    tokenizer = read_tokenizer(config, name, what, _ADVICE)
    model = read_weights(AutoModelForSequenceClassification, config, what, _ADVICE)
    if model.config.num_labels != 1:
        raise FspoError(
            f"{what}: it has {model.config.num_labels} outputs, and a reward model has one: "
            "a score."
        )
    model.config.pad_token_id = tokenizer.pad_token_id
    return RewardJudge(name, model, tokenizer, batch_size)


def _judgement(score: float, other: float) -> Judgement:
    if math.isnan(score) or math.isnan(other):
        return Judgement(0.5, malformed=True)
    return Judgement(0.5 if score == other else float(score > other))

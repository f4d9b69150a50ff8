"""A reward model as a judge: any sequence-classification model of transformers with one output.

It scores a prompt with an answer and knows nothing of the user: it says which answer is the better
one to people at large, as a check on judges that know the user. Weights are read from safetensors
only, and code that comes with a model is never run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fspo.console import track
from fspo.errors import FspoError
from fspo.judging.verdicts import MALFORMED, TIE, Comparison, Verdict
from fspo.llm.rendering import rendered
from fspo.preferences.records import User
from fspo.pretrained import from_pretrained, read_config

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
        # What somebody wrote must not pass for the end of a turn.
        marks = [re.escape(str(token)) for token in tokenizer.added_tokens_decoder.values()]
        self._markers = re.compile("|".join(marks) or r"(?!)")

    def check(self, users: Sequence[User]) -> None:
        """Nothing: it knows nothing of users."""

    def judge(
        self, comparisons: Sequence[Comparison], draw: int = 0, description: str = ""
    ) -> list[Verdict]:
        """Scores every answer once; equal scores are a tie, and what is too long is malformed."""
        texts = sorted(
            {(c.prompt, text) for c in comparisons for text in (c.first, c.second)},
            key=lambda pair: sum(map(len, pair)),  # so that a batch has little padding
        )
        scores = dict(zip(texts, self.scores(texts), strict=True))
        return [
            _verdict(scores[c.prompt, c.first], scores[c.prompt, c.second]) for c in comparisons
        ]

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

    def _row(self, prompt: str, answer: str) -> Any:
        """In the model's chat format if it has one, else as two texts, as encoders want them."""
        prompt, answer = self._markers.sub(" ", prompt), self._markers.sub(" ", answer)
        if self._tokenizer.chat_template is None:
            # As lists: alone, an empty answer would be taken for none.
            pair = self._tokenizer([prompt], [answer], return_token_type_ids=self._segments)
            return {name: own[0] for name, own in pair.items()}
        said = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        text = rendered(self._tokenizer, said, answered=True)
        return self._tokenizer(text, add_special_tokens=False, return_token_type_ids=False)


def load_reward_judge(name: str, batch_size: int = 8) -> RewardJudge:
    """Loads the reward model of a folder or a hub id, on the GPU where there is one.

    Raises:
        FspoError: if there is no such model, it has no safetensors weights, or more than one
            output.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    short = device == "cuda" and torch.cuda.is_bf16_supported()
    what = f"reward model {name!r}"
    tokenizer = from_pretrained(AutoTokenizer, name, what, _ADVICE)
    model = from_pretrained(
        AutoModelForSequenceClassification,
        name,
        what,
        _ADVICE,
        config=read_config(name, what, _ADVICE),
        dtype=torch.bfloat16 if short else torch.float32,
        use_safetensors=True,
    )
    if model.config.num_labels != 1:
        raise FspoError(
            f"reward model {name!r}: it has {model.config.num_labels} outputs, and a reward model "
            "has one: a score."
        )
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if positions:
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    model.config.pad_token_id = tokenizer.pad_token_id
    return RewardJudge(name, model.to(device).eval(), tokenizer, batch_size)


def _verdict(score: float, other: float) -> Verdict:
    if math.isnan(score) or math.isnan(other):
        return MALFORMED
    return TIE if score == other else Verdict("clear", float(score > other))

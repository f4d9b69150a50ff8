"""Answers in this process, by a policy that `fspo train` wrote or by a model as it comes.

What is read is byte for byte what training wrote: the last choices, for RAT the description, and
then the question, so that all before the question is the same as long as the profile is, and what
the model computed for it is kept. One model serves all threads, which take turns at it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fspo.assistant.backend import Abilities, Messages, Person, Reply
from fspo.assistant.conversation import as_question, check_messages
from fspo.assistant.prefixes import Prefixes, common
from fspo.assistant.turns import BetweenAnswers, Turns
from fspo.bundled import policy_folder
from fspo.errors import FspoError
from fspo.llm.sampling import Sampling
from fspo.preferences.records import Preference

if TYPE_CHECKING:
    from fspo.assistant.stepping import Context
    from fspo.learning.policy import Policy
    from fspo.learning.tree_builder import Tokens

SHOTS = 8  # that a model reads which was not trained to read any number of them
CACHE = 2**30  # bytes

# Of `rewards`: so many tokens of answers are priced in one pass (or a single longer answer), as a
# pass takes memory by their square; and so many for one request.
_AT_ONCE, _RANKED = 2048, 32_768
# Of `choose`, which a person waits for: a call of the predictor is a tree of all these pairs.
_CANDIDATES, _SHORTLIST, _TARGETS = 8, 2, 4


class LocalBackend:
    """A policy of FSPO, Pref-FT or RAT, or a model that is shown a person's choices."""

    def __init__(self, name: str, cache_bytes: int = CACHE) -> None:
        """Loads it.

        Args:
            name: the folder that `fspo train` wrote, "fspo-reviews" for the policy that comes with
                fspo, or a model as `load_model` knows it.
            cache_bytes: what may be kept in memory of people's prefixes.

        Raises:
            FspoError: if it cannot be loaded, or is a policy of another kind.
        """
        from fspo.learning.policy import SETTINGS, Policy, load_policy, read_settings
        from fspo.learning.templates import CHAIN
        from fspo.models import load_model

        place = policy_folder(name)
        self._is_policy = (place / SETTINGS).is_file()
        if self._is_policy:
            check_kind(name, read_settings(place))
            policy = load_policy(place)
        else:
            policy = Policy(*load_model(name), CHAIN, 1.0, {"shots": SHOTS})
        self._take(policy, cache_bytes)
        self.abilities = Abilities(describes=self._describes, models=(_called(name),))

    def _take(self, policy: Policy, cache_bytes: int) -> None:
        from fspo.assistant.stepping import Stepper
        from fspo.methods.table import method_of

        self._policy = policy
        self._shots = int(policy.settings.get("shots", SHOTS))
        self._describes = method_of(policy.settings).describes
        self._turns = Turns()
        self._prefixes = Prefixes(cache_bytes)
        self._longest_token = max(map(len, policy.tokenizer.get_vocab()))
        # Whether special tokens in a text are read as such is a state of the tokenizer: two threads
        # with one would read each other's way. The policy's own is used in the model's turns,
        # this one behind its own, and the steppers' only decodes.
        self._tokenizer, self._reading = deepcopy(policy.tokenizer), threading.Lock()
        model, tokenizer = policy.model, deepcopy(policy.tokenizer)
        self._personal = Stepper(model, tokenizer, self._turns, self._prefixes)
        base = model if policy.frozen is None else policy.frozen
        around = getattr(base, "disable_adapter", nullcontext)
        self._base = Stepper(base, tokenizer, self._turns, self._prefixes, around)

    def reply(self, person: Person, messages: Messages, sampling: Sampling) -> Reply:
        """Answers behind the person's choices and, where the model reads one, the description.

        Raises:
            FspoError: if the conversation does not fit the model's window, or a role is unknown.
        """
        question = as_question(messages)
        self._check_letters(question)
        with self._reading:
            context = self._context(person, question, sampling.max_tokens)
        return self._personal.reply(context, sampling)

    def plain(self, messages: Messages, sampling: Sampling) -> Reply:
        """Answers in the model's own chat format, with the adapter off.

        Raises:
            FspoError: as `reply`.
        """
        from fspo.assistant.stepping import Context
        from fspo.llm.local import LocalModel

        check_messages(messages)
        self._check_letters(*(message["content"] for message in messages))
        with self._reading:
            tokens = LocalModel(self._policy.model, self._tokenizer).tokens(messages)
        self._check_window(len(tokens), sampling.max_tokens)
        return self._base.reply(Context(tokens), sampling, templated=False)

    def rewards(self, person: Person, prompt: str, answers: Sequence[str]) -> list[float]:
        """The policy's implicit reward of each answer, behind the choices and the description.

        Only differences mean something: behind a description, the first answer's is 0.

        Raises:
            FspoError: if there is no policy, prompt and answer do not fit the window, or all
                answers together are more than `_RANKED` tokens.
        """
        if not self._is_policy:
            raise FspoError(
                f"{self.abilities.models[0]}: a model as it comes has no reward of answers; give "
                "a folder that `fspo train` wrote"
            )
        if not answers:
            return []
        described = self._describes and bool(person.description.strip())
        with self._reading:
            groups, longest = self._groups(prompt, answers)
            shots = self._fitting(person, prompt, answers[longest], described)
        rewards = [0.0] * len(answers)
        for number, group in enumerate(groups):
            # Each is a long pass: others who are being answered go before all but the first.
            turn = self._turns.between_answers if number else self._turns.of_answer
            with turn():
                texts = [answers[place] for place in group]
                found = (
                    self._described_rewards(person, shots, prompt, texts)
                    if described
                    else self._policy.rewards(person.key, shots, prompt, texts)
                )
            for place, reward in zip(group, found, strict=True):
                rewards[place] = reward
        return [reward - rewards[0] for reward in rewards] if described else rewards

    def _groups(self, prompt: str, answers: Sequence[str]) -> tuple[list[list[int]], int]:
        """The places of the answers that are priced in one pass, and that of the longest answer.

        Raises:
            FspoError: if all of them are more than is priced for one request.
        """
        from fspo.learning.tree_builder import Encoder

        self._check_letters(prompt, max(answers, key=len))
        letters, most = sum(map(len, answers)), _RANKED * self._longest_token
        if letters > most:
            raise FspoError(f"answers: {letters} characters in all; at most {most} are ranked")
        lengths = [len(tokens) for tokens in Encoder(self._tokenizer).responses(answers)]
        if sum(lengths) > _RANKED:
            raise FspoError(
                f"answers: {sum(lengths)} tokens in all; at most {_RANKED} are ranked at a time"
            )
        groups: list[list[int]] = []
        room = 0
        for place, length in enumerate(lengths):
            if length > room:
                groups.append([])
                room = _AT_ONCE
            groups[-1].append(place)
            room -= length
        return groups, lengths.index(max(lengths))

    def _fitting(
        self, person: Person, prompt: str, longest: str, described: bool
    ) -> Sequence[Preference]:
        """The choices that fit before the longest answer: all are priced behind the same ones."""
        from fspo.learning.tree import context_tokens
        from fspo.learning.tree_builder import Encoder
        from fspo.methods.rat.trees import described_probes

        shots, tokenizer = self._read(person), self._tokenizer
        if described:
            pair, told = Preference(prompt, longest, longest), [person.description]
            [tree, *_] = described_probes(person.key, shots, [pair], [len(shots)], tokenizer, told)
            return shots[tree.dropped :]
        room, template = len(Encoder(tokenizer).responses([longest])[0]), self._policy.template
        _, dropped = context_tokens(person.key, shots, prompt, tokenizer, template, room=room)
        return shots[dropped:]

    def _described_rewards(
        self, person: Person, shots: Sequence[Preference], prompt: str, answers: Sequence[str]
    ) -> list[float]:
        from fspo.methods.rat.trees import described_probes

        policy, even = self._policy, [*answers, *answers[-1:]]  # the last one may stand alone
        pairs = [Preference(prompt, *two) for two in zip(even[0::2], even[1::2], strict=False)]
        told = [person.description]
        trees = described_probes(person.key, shots, pairs, [len(shots)], policy.tokenizer, told)
        margins = [value for tree in trees for value in policy.margins([tree])[0].tolist()]
        return [policy.beta * value for value in margins[: len(answers)]]

    def choose(
        self, person: Person, candidates: Sequence[Preference], seed: int
    ) -> tuple[int, bool]:
        """The pair that tells most about others, among some that are drawn.

        It takes 5 passes over trees of at most 8 pairs, and each pass lets answers go first. By
        chance is chosen where the policy cannot tell (it ranks nobody, or there are no choices
        yet), where each pair would take a pass of its own (template `paper`), and among fewer than
        3 pairs.

        Raises:
            FspoError: if there are no candidates.
        """
        from fspo.learning.templates import template_named
        from fspo.methods.asking import next_pair
        from fspo.preferences.records import User

        if not candidates:
            raise FspoError("there is no pair left to ask about")
        generator = np.random.default_rng(seed)
        order = [int(place) for place in generator.permutation(len(candidates))]
        policy = self._policy
        reads = self._is_policy and self._shots > 0 and template_named(policy.template).chained
        knows = reads and bool(person.shots)  # before the first choice one pair is like another
        if not knows or len(candidates) < 3:
            return order[0], False
        targets = min(_TARGETS, len(order) // 3)
        drawn = order[targets : targets + _CANDIDATES]
        best = next_pair(
            BetweenAnswers(policy, self._turns),
            User(person.key),
            self._read(person),
            [candidates[place] for place in drawn],
            [candidates[place] for place in order[:targets]],
            generator,
            _SHORTLIST,
        )
        return drawn[best], True

    def describe(self, person: Person) -> str:
        """The likeliest description behind the person's choices; "" without any, or without RAT."""
        from fspo.assistant.stepping import Context
        from fspo.learning.templates import DESCRIPTION
        from fspo.methods.rat.trees import description_context

        shots = self._read(person)
        if not (self._describes and shots):
            return ""
        room = int(self._policy.settings["rat"]["max_tokens"])
        with self._reading:
            tokens = description_context(shots, self._tokenizer, room)
            prefix = len(tokens) - self._length(DESCRIPTION)
        self._check_window(len(tokens), room)
        likeliest = Sampling(max_tokens=room, temperature=0)
        reply = self._personal.reply(Context(tokens, person.key, prefix), likeliest)
        return "".join(reply.pieces) or "somebody"

    def forget(self, key: str) -> None:
        """Drops the profile's prefix."""
        self._prefixes.forget(key)

    def _read(self, person: Person) -> Sequence[Preference]:
        """The choices that the model reads: the last ones, as many as in training."""
        return person.shots[max(0, len(person.shots) - self._shots) :]

    def _context(self, person: Person, question: str, room: int) -> Context:
        from fspo.assistant.stepping import Context
        from fspo.learning.tree import context_tokens

        tokenizer, template = self._tokenizer, self._policy.template
        alone, _ = context_tokens("", (), question, tokenizer, template, sys.maxsize)
        self._check_window(len(alone), room)
        shots = self._read(person)
        if person.description.strip() and (self._describes or not self._is_policy):
            return self._described(person, shots, question, room)
        tokens, dropped = context_tokens(
            person.key, shots, question, tokenizer, template, room=room
        )
        return Context(tokens, person.key, self._before(tokens, shots[dropped:], question))

    def _described(
        self, person: Person, shots: Sequence[Preference], question: str, room: int
    ) -> Context:
        from fspo.assistant.stepping import Context
        from fspo.learning.templates import question_lead
        from fspo.methods.rat.trees import answer_context

        tokenizer, told = self._tokenizer, person.description
        tokens = answer_context(shots, told, question, tokenizer, room)
        return Context(tokens, person.key, len(tokens) - self._length(question_lead(question)))

    def _before(self, tokens: Tokens, shots: Sequence[Preference], question: str) -> int:
        """Returns how many of a context's tokens come before its question."""
        from fspo.learning.templates import template_named
        from fspo.learning.tree import context_tokens

        if not shots:
            return 0  # the opening alone is not worth the memory
        template = template_named(self._policy.template)
        if template.chained:
            *_, asked = template.write([shots[-1], Preference(question, "", "")])
            return len(tokens) - self._length(asked.lead)
        # The last example and what follows it are one text, with tokens across the seam.
        name = self._policy.template
        other, _ = context_tokens("", shots, "", self._tokenizer, name, sys.maxsize)
        return common(tokens, other)

    def _length(self, text: str) -> int:
        from fspo.learning.tree_builder import Encoder

        return len(Encoder(self._tokenizer).texts([text])[0])

    def _check_letters(self, *texts: str) -> None:
        """Refuses what cannot fit by its letters alone, before anything reads it."""
        letters = sum(map(len, texts))
        most = self._tokenizer.model_max_length * self._longest_token
        if letters > most:
            raise FspoError(
                f"the text has {letters} characters; the model's window holds at most "
                f"{most}. Shorten it."
            )

    def _check_window(self, read: int, room: int) -> None:
        window = self._tokenizer.model_max_length
        if room < 1:
            raise FspoError(f"max_tokens is {room}; an answer takes 1 or more")
        if read + room > window:
            raise FspoError(
                f"the conversation takes {read} tokens and its answer up to {room}; the model's "
                f"window holds {window}. Shorten the conversation, or ask for fewer tokens."
            )


def check_kind(folder: str, settings: dict[str, Any]) -> None:
    """Makes sure that a policy answers behind choices alone.

    Raises:
        FspoError: naming its method.
    """
    from fspo.methods.table import METHODS, method_of

    if not method_of(settings).chats:
        chatting = " or ".join(name for name, method in METHODS.items() if method.chats)
        raise FspoError(
            f"{folder}: is of method {settings['method']}, and the assistant answers by "
            f"{chatting}. Give a folder that `fspo train` wrote with one of these, or a model's "
            "name."
        )


def _called(name: str) -> str:
    """A name for a model: of a folder only the last part, as where it lies is nobody's business."""
    return Path(name).resolve().name if Path(name).is_dir() else name

"""An episode as tokens: one chain that is read once, with branches for the alternatives.

The chain is question, preferred response, dispreferred response, next question, ... What comes
before the k-th preferred response in it is exactly the context in which both responses of the k-th
pair are to be priced. The preferred one is priced on the chain itself; the dispreferred one on a
branch that leaves the chain where the preferred one starts:

    chain     [lead 0][chosen 0][link][rejected 0][lead 1][chosen 1] ...
    branches          [rejected 0]                        [rejected 1] ...

A tree knows token ids, positions and who sees whom. It knows nothing about models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fspo.errors import FspoError
from fspo.learning.templates import CHAIN, blocks
from fspo.learning.tree_builder import (
    Encoder,
    Ints,
    Pair,
    Response,
    Tokens,
    TreeBuilder,
    encode_pairs,
)
from fspo.preferences.records import Episode, Preference

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class EpisodeTree:
    """The tree of one episode; make it with `from_episode` or `from_candidates`.

    Attributes:
        user_id: whose episode it is.
        tokens: int64 (length,): the chain, then the branches one after the other.
        positions: int64 (length,): each token's distance from the root along its own path.
        branch: int64 (length,): 0 on the chain, b > 0 on the b-th branch.
        leaves: int64 (branches + 1,): the position at which each branch leaves the chain, which is
            how much of the chain it sees (entry 0, the chain's own, is its length).
        responses: what is to be priced: chosen 0, rejected 0, chosen 1, ...; or the candidates.
        dropped: how many shots were left out at the front because the context is full.
        labels: what each target is called in the log; by default after its number of shots.
        rows: where each target was read, for messages; may be left out.
        reference: float32 (responses,): the reference's log-probs, where they are known already.
        likely: of each target, how likely the user chooses so; empty where the user did choose.
        nll: of each target, the weight of its chosen response's log-loss beside the objective;
            empty where it is as the recipe says.
    """

    user_id: str
    tokens: Ints
    positions: Ints
    branch: Ints
    leaves: Ints
    responses: list[Response]
    dropped: int = 0
    labels: Sequence[str] = ()
    rows: Sequence[str] = ()
    reference: npt.NDArray[np.float32] | None = None
    likely: Sequence[float] = ()
    nll: Sequence[float] = ()

    @classmethod
    def from_episode(
        cls,
        episode: Episode,
        tokenizer: PreTrainedTokenizerBase,
        template: str = CHAIN,
        max_length: int | None = None,
    ) -> EpisodeTree:
        """Builds the tree that prices the chosen and the rejected response of each target.

        Args:
            episode: the shots and the target, in order.
            tokenizer: its `eos_token_id` ends each response.
            template: one of `TEMPLATES`. Of "chain" every preference is a target, after all that
                come before it; of "paper" the last one is.
            max_length: the longest path from the root, in tokens; by default the tokenizer's
                `model_max_length`. Shots that do not fit are dropped from the front.

        Raises:
            FspoError: if the episode is empty, or its last preference does not fit alone.
        """
        encoder = Encoder(tokenizer)
        limit = max_length or tokenizer.model_max_length
        preferences = list(episode.preferences)
        if not preferences:
            raise FspoError(f"user {episode.user_id!r}: an episode needs at least one preference")
        for dropped in range(len(preferences)):
            pairs = encode_pairs(blocks(preferences[dropped:], template), encoder)
            tree = _chain(episode.user_id, pairs, encoder, dropped)
            if tree.longest_path <= limit:
                rows = [preference.row for preference in preferences]
                targets = len(tree.responses) // 2
                return replace(tree, rows=rows[-targets:], likely=episode.likely[-targets:])
        raise FspoError(
            f"{preferences[-1].row or 'preference'}: user {episode.user_id!r}: prompt and response "
            f"take {tree.longest_path} tokens without any shot; the context holds {limit}. "
            "Shorten the texts, leave the row out, or take a model with a longer context."
        )

    @classmethod
    def from_candidates(
        cls,
        user_id: str,
        shots: Sequence[Preference],
        prompt: str,
        candidates: Sequence[str],
        tokenizer: PreTrainedTokenizerBase,
        template: str = CHAIN,
        max_length: int | None = None,
    ) -> EpisodeTree:
        """Builds a tree that prices any number of candidate answers to one prompt after the shots.

        Arguments and faults are as in `from_episode`; the responses are the candidates in order.
        """
        encoder = Encoder(tokenizer)
        answers = encoder.responses(candidates)
        room = max(len(answer) for answer in answers)
        context, dropped = context_tokens(
            user_id, shots, prompt, tokenizer, template, max_length, room
        )
        return cls._fork(user_id, context, answers, dropped)

    @classmethod
    def from_context(
        cls,
        context: Tokens,
        responses: Sequence[str],
        tokenizer: PreTrainedTokenizerBase,
        what: str = "prompt and responses",
        max_length: int | None = None,
    ) -> EpisodeTree:
        """Builds a tree that prices responses after a context that is written some other way.

        Args:
            context: token ids, at least one; such as a conversation in a model's chat format.
            responses: each as it stands: here are no headings to be mistaken for.
            tokenizer: its `eos_token_id` ends each response.
            what: all of this, for messages.
            max_length: tokens that the context holds; by default the tokenizer's limit.

        Raises:
            FspoError: if it does not fit.
        """
        encoder = Encoder(tokenizer)
        tree = cls._fork("", context, [[*ids, encoder.end] for ids in encoder.texts(responses)], 0)
        limit = max_length or tokenizer.model_max_length
        if tree.longest_path > limit:
            raise FspoError(
                f"{what} take {tree.longest_path} tokens; the context holds {limit}. Shorten them, "
                "leave the row out, or take a model with a longer context."
            )
        return tree

    @classmethod
    def _fork(
        cls, user_id: str, context: Tokens, responses: Sequence[Tokens], dropped: int
    ) -> EpisodeTree:
        builder = TreeBuilder(context)
        for response in responses:
            builder.add_branch([], response)
        return cls(user_id, *builder.build(), dropped)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def longest_path(self) -> int:
        """The tokens of context that the tree takes: its longest path, end-of-text included."""
        return max(response.start + len(response.tokens) for response in self.responses)

    @property
    def contexts(self) -> list[Tokens]:
        """For each target, the token ids of all that comes before its responses."""
        return [self.path(response.rows[0]) for response in self.responses[0::2]]

    def path(self, row: int) -> Tokens:
        """The token ids from the root to a token of the tree, that one included."""
        branch = self.branch[row]
        own = np.flatnonzero(self.branch == branch)
        before = self.tokens[: self.leaves[branch]] if branch else self.tokens[:0]
        return [*before.tolist(), *self.tokens[own[own <= row]].tolist()]

    @property
    def chosen(self) -> list[Tokens]:
        """For each target, the token ids of the preferred response, end-of-text included."""
        return [response.tokens for response in self.responses[0::2]]

    @property
    def rejected(self) -> list[Tokens]:
        """For each target, the token ids of the dispreferred response, end-of-text included."""
        return [response.tokens for response in self.responses[1::2]]

    def visible(self) -> npt.NDArray[np.bool_]:
        """Returns who sees whom: entry (i, j) is whether token j is on token i's path to the root.

        Returns:
            bool (length, length).
        """
        earlier = self.positions[None, :] <= self.positions[:, None]
        own = self.branch[None, :] == self.branch[:, None]
        trunk = (self.branch == 0)[None, :]
        before_leaving = self.positions[None, :] < self.leaves[self.branch][:, None]
        mask: npt.NDArray[np.bool_] = earlier & (own | (trunk & before_leaving))
        return mask


def context_tokens(
    user_id: str,
    shots: Sequence[Preference],
    prompt: str,
    tokenizer: PreTrainedTokenizerBase,
    template: str = CHAIN,
    max_length: int | None = None,
    room: int = 1,
) -> tuple[Tokens, int]:
    """The token ids that lead up to an answer: the shots and the prompt, exactly as in training.

    Args:
        user_id: whose shots, for messages.
        shots: in order; those that do not fit are dropped from the front.
        prompt: what is asked.
        tokenizer: as in `EpisodeTree.from_episode`.
        template: as there.
        max_length: tokens that the context holds; by default the tokenizer's limit.
        room: how many of them must be left for the answer.

    Returns:
        The token ids, and how many shots were dropped.

    Raises:
        FspoError: if the prompt does not fit even without shots.
    """
    encoder = Encoder(tokenizer)
    limit = max_length or tokenizer.model_max_length
    for dropped in range(len(shots) + 1):
        asked = [*shots[dropped:], Preference(prompt, "", "")]
        *earlier, last = encode_pairs(blocks(asked, template), encoder)
        before = [token for pair in earlier for token in pair.as_shot(encoder)]
        context = [*encoder.start, *before, *last.lead]
        if len(context) + room <= limit:
            return context, dropped
    raise FspoError(
        f"user {user_id!r}: the prompt takes {len(context)} tokens without any shot and the "
        f"answer {room}; the context holds {limit}. Shorten the prompt or the answer."
    )


def _chain(user_id: str, pairs: Sequence[Pair], encoder: Encoder, dropped: int) -> EpisodeTree:
    builder = TreeBuilder(encoder.start)
    for pair in pairs:
        builder.chain += pair.lead
        builder.add_target(pair)
        if pair is not pairs[-1]:
            builder.chain += [*encoder.link, *pair.rejected]
    builder.chain.pop()  # the last end token is predicted, but predicts nothing
    return EpisodeTree(user_id, *builder.build(), dropped)

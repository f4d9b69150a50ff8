"""The measured judge: prefers the answer whose measures are nearer to what the user wants."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fspo.domains import domain_names, load_domain
from fspo.domains.described import Described, described_names, load_described
from fspo.errors import FspoError
from fspo.judging.verdicts import MALFORMED, TIE, Comparison, Verdict
from fspo.preferences.logistic import sigmoid
from fspo.preferences.records import User

# What an answer is worth to a user: attributes and text to a number.
Utility = Callable[[Mapping[str, Any], str], float]
Measure = Callable[[str], Mapping[str, float]]

# Two answers whose worth differs by less than this are a tie, where answers are judged.
MARGIN = 0.05


class MeasuredJudge:
    """Prefers the answer that is worth more to the user, by a domain's measures."""

    def __init__(
        self,
        domain: str,
        utility: Utility,
        measure: Measure,
        *,
        margin: float = MARGIN,
        min_utility: float | None = None,
        soft_labels: bool = False,
    ) -> None:
        """Takes what measures, and when the user is sure.

        Args:
            domain: the name of whose measures these are.
            utility: what an answer is worth to a user.
            measure: what is measured in an answer.
            margin: a difference in utility below it is none that a user is sure about.
            min_utility: what the better answer has to be worth, too: not the lesser evil.
            soft_labels: whether a probability is that of Bradley and Terry's model, the sigmoid of
                the difference; else it is 1 or 0, and 0.5 where the user is unsure.
        """
        self.name = f"measured: {domain}"
        self._utility, self._measure = utility, measure
        self._margin = max(margin, 1e-9)
        self._min_utility = -math.inf if min_utility is None else min_utility
        self._soft_labels = soft_labels

    def facts(self, user: User, text: str) -> dict[str, float]:
        """Returns what it measures in an answer, and what that is worth to the user (`utility`).

        Nothing where it is not known what the user wants.
        """
        if self._fault(user):
            return {}
        return {**self._measure(text), "utility": self._utility(user.attributes, text)}

    def check(self, users: Sequence[User]) -> None:
        """Makes sure that of some user it is known what they want.

        Raises:
            FspoError: if it is not, or a measure's package is not installed.
        """
        faults = [self._fault(user) for user in users]
        if faults and all(faults):
            raise FspoError(
                f"{self.name}: of no user is it known what they want ({faults[0]}). Choose the "
                "domain that the data was made from, or another judge."
            )

    def judge(
        self, comparisons: Sequence[Comparison], draw: int = 0, description: str = ""
    ) -> list[Verdict]:
        """Measures; nothing is drawn, so that every draw is the same.

        A user whose attributes do not say what they want is malformed; one who wants nothing that
        is measured (`wants: {}`) is unsure.

        Raises:
            FspoError: if a measure's package is not installed.
        """
        return [self._verdict(c.user, c.first, c.second) for c in comparisons]

    def _verdict(self, user: User, first: str, second: str) -> Verdict:
        if user.attributes.get("wants") == {}:
            return TIE
        if self._fault(user):
            return MALFORMED
        worth, other = (self._utility(user.attributes, text) for text in (first, second))
        gap = worth - other
        is_sure = abs(gap) >= self._margin and max(worth, other) >= self._min_utility
        probability = float(gap > 0) if is_sure else 0.5
        if self._soft_labels:
            probability = float(sigmoid(np.array(gap)))
        return Verdict("clear" if is_sure else "unsure", probability)

    def _fault(self, user: User) -> str:
        """Returns why nothing can be measured for a user; empty if something can."""
        place = f"user {user.user_id!r}: attributes"
        try:
            worth = self._utility(user.attributes, "")
        except (KeyError, TypeError) as error:
            return f"{place}: {error}"
        except ImportError as error:
            raise FspoError(
                f"{self.name}: {error}. Install the measures with `pip install 'fspo[synthesis]'`."
            ) from error
        return "" if math.isfinite(worth) else f"{place}: they make an answer worth {worth}"


def measured_judge(domain: str) -> MeasuredJudge:
    """Builds the judge by the measures of the domain of that name, or in the folder of that name.

    Raises:
        FspoError: if there is no such domain, or it has no measures.
    """
    programmed = domain in domain_names()
    measure = load_domain(domain).measure if programmed else _measure(load_described(domain))
    return MeasuredJudge(Path(domain).name, domain_utility(domain), measure)


def measured_labeller(
    domain: Described, margin: float, min_utility: float | None = None
) -> MeasuredJudge:
    """Builds the judge that labels a domain's data; see `MeasuredJudge`."""
    return MeasuredJudge(
        domain.name,
        nearness(domain),
        _measure(domain),
        margin=margin,
        min_utility=min_utility,
        soft_labels=True,
    )


def domain_utility(name: str) -> Utility:
    """Returns what an answer is worth to a user, by the measures of a domain.

    The users of a described domain have an attribute `wants` (`nearness`). A programmed domain
    knows its own attributes. Reviews are both, and each user is measured by the attributes that
    they have.

    Raises:
        FspoError: if there is no such domain, or it has no measures.
    """
    programmed = load_domain(name).utility if name in domain_names() else None
    described = None
    if programmed is None or name in described_names():
        domain = load_described(name)
        if not domain.measures:
            raise FspoError(
                f"{name}: it has no measures, so it cannot judge: let a model judge, or set "
                "`measures` in its domain.yaml."
            )
        described = nearness(domain)

    def utility(attributes: Mapping[str, Any], text: str) -> float:
        if described and (not programmed or "wants" in attributes):
            return described(attributes, text)
        assert programmed is not None  # one of the two there is
        return programmed(attributes, text)

    return utility


def nearness(domain: Described) -> Utility:
    """Returns how near an answer is to what a user `wants`, on every measure: 0 at best.

    A distance is counted in the measure's scale. The function raises a `KeyError` or a `TypeError`
    for attributes that do not say what is wanted.
    """
    scale = {name: measure.scale for name, measure in domain.measures.items()}

    def utility(attributes: Mapping[str, Any], text: str) -> float:
        wants = attributes["wants"]
        if not isinstance(wants, Mapping) or not wants:
            raise TypeError("'wants' has to be a number for each measure")
        distances = (
            abs(domain.functions[name](text) - wanted) / scale[name]
            for name, wanted in wants.items()
        )
        return -float(sum(distances))

    return utility


def _measure(domain: Described) -> Measure:
    return lambda text: {name: function(text) for name, function in domain.functions.items()}

"""Leaves out the settings that a server refuses: each is found out once and remembered.

What a server names when it refuses a request is left out of that request on trial; once the server
has answered without it, it is left out of all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fspo.console import say
from fspo.llm.faults import Fault

# What can be left out, in the order in which it is where a server names several, and the forms in
# which servers name it. `max_completion_tokens` takes the place of `max_tokens` first.
_NAMED = {
    "stream_options": r"\bstream[ _-]?options\b|\binclude[ _-]?usage\b",
    "seed": r"\b(random[ _-]?)?seed\b",
    "logprobs": r"\b(top[ _-]?)?log[ _-]?prob(s|abilit)",
    "response_format": r"\bresponse[ _-]?format\b|\bjson[ _-]?(schema|mode|object)\b"
    r"|\bstructured[ _-]?outputs?\b|\bguided[ _-]?(json|decoding)\b|\bgrammar\b",
    "top_p": r"\btop[ _-]?p\b|\bnucleus\b",
    "temperature": r"\btemperature\b",
    "stop": r"\bstop([ _-]?(sequence|word|token)s?)?\b",
    "max_completion_tokens": r"\bmax[ _-]?completion[ _-]?tokens\b",
    "max_tokens": r"\bmax[ _-]?(new[ _-]?|output[ _-]?|completion[ _-]?)?tokens\b",
}
_PATTERNS = {name: re.compile(form, re.IGNORECASE) for name, form in _NAMED.items()}
_PART_OF = {"top_logprobs": "logprobs"}
_OF_MANY_VALUES = ("seed", "top_p", "temperature", "stop", "max_completion_tokens", "max_tokens")
_MOST_VALUES = 1000  # that are remembered
_LENGTHS = ("max_tokens", "max_completion_tokens")
# A value out of bounds says nothing of others, which another request may have.
_OF_VALUE = re.compile(
    r"must be|should be|between|range|less than|greater than|at (most|least)|m(ax|in)imum value"
    r"|too (large|small|high|low|many)|exceed",
    re.IGNORECASE,
)
_OF_NAME = re.compile(r"\bonly\b|default|not? (be )?support|unsupported|\bboth\b", re.IGNORECASE)


class Settings:
    """The settings that one server is not sent any more."""

    def __init__(self, server: str) -> None:
        """`server` is what it is called where something is told about it."""
        self._server = server
        self._told: set[str] = set()
        self.refused: set[str] = set()

    def trial(self, whole: Mapping[str, Any]) -> Trial:
        """A request with all of its settings, ready to leave some out."""
        return Trial(self, whole)

    def remember(self, refused: set[str]) -> None:
        """Leaves these out from now on, and says so once of each."""
        if len(self.refused) < _MOST_VALUES:
            self.refused |= refused
        for name in sorted({mark.split("=")[0] for mark in refused} - self._told):
            self._told.add(name)
            rest = "" if name != "max_tokens" else ", or goes by another name"
            say(f"{self._server}: the server refuses the setting {name}; it is left out{rest}.")


class Trial:
    """One request on its way to a server that may refuse some of its settings."""

    def __init__(self, settings: Settings, whole: Mapping[str, Any]) -> None:
        self._settings, self._whole = settings, whole
        self._found: set[str] = set()
        self._sent: dict[str, Any] = {}

    @property
    def body(self) -> dict[str, Any]:
        """Returns what to send, as far as it is known by now; `leaves_out` judges by it."""
        body: dict[str, Any] = {}
        for name, value in self._whole.items():
            if name in _LENGTHS:
                left = [own for own in _LENGTHS if not self._leaves(own, value)]
                if left:
                    body[left[0]] = value
            elif not self._leaves(_PART_OF.get(name, name), value):
                body[name] = value
        self._sent = body
        return body

    def leaves_out(self, fault: Fault) -> bool:
        """Returns whether the server refuses something by name that the next `body` is without."""
        if not fault.is_of_settings:
            return False
        # Not what would be sent now: another request may have found the same out meanwhile.
        sent = self._sent
        for told in (" ".join(fault.fields), fault.words):
            for name, pattern in _PATTERNS.items():
                if name in sent and pattern.search(told):
                    value = _OF_VALUE.search(fault.words) and not _OF_NAME.search(fault.words)
                    of_value = value and name in _OF_MANY_VALUES
                    self._found.add(_mark(name, sent[name]) if of_value else name)
                    return True
        return False

    def taken(self) -> None:
        """Tells that the server has answered: what it refused is not sent again."""
        if self._found - self._settings.refused:
            self._settings.remember(self._found)

    def _leaves(self, name: str, value: Any) -> bool:
        refused = self._settings.refused | self._found
        return name in refused or (len(refused) > 0 and _mark(name, value) in refused)


def _mark(name: str, value: Any) -> str:
    return f"{name}={value!r}"

"""`fspo chat`: the assistant in a terminal, on the same profiles as the page.

A line is a question, and its answer is written as it comes. Commands begin with a slash. What the
model writes is printed as it is, less what a terminal would take for an order.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence

from fspo.assistant.backend import Backend, Person
from fspo.assistant.keys import NOBODY_ELSE
from fspo.assistant.pairs import Pairs
from fspo.assistant.profiles import Profiles
from fspo.errors import FspoError
from fspo.llm.sampling import Sampling
from fspo.preferences.records import Preference
from fspo.preferences.tables import check_whole

_ACCOUNT = NOBODY_ELSE.account  # the page's, where it needs no key
_ORDERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_HELP = """\
A line is a question. Beside that:
  /pair [QUESTION]   two answers to choose from: to your question, or to one that tells most
  /profile           what is kept of you: your choices, and the description
  /describe TEXT     say yourself who you are; without a text the model may say it again
  /forget            delete all of it, for good
  /quit              (or Ctrl-D)"""


class Conversation:
    """One person's session."""

    def __init__(
        self,
        backend: Backend,
        profiles: Profiles,
        user: str,
        pairs: Sequence[Preference],
        sampling: Sampling,
    ) -> None:
        self._backend, self._profiles, self._user = backend, profiles, user
        self._pairs = Pairs(backend, pairs)
        self._sampling = sampling

    def run(self) -> None:
        """Reads lines until the end of the input or /quit; what goes wrong is said in one line."""
        check_whole(self._user, "--user:")
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")  # what is no UTF-8 is told below
        name = self._backend.abilities.models[0]
        print(plain(f"{name}, profile {self._user}. /help says how."))
        while True:
            try:
                line = input("> ").strip()
                if line == "/quit":
                    return
                self._do(line)
            except FspoError as error:
                print(plain(f"fspo: {error}"))  # may quote a server
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print(" (stopped; /quit ends)")

    def _do(self, line: str) -> None:
        check_whole(line, "what you typed")
        command, _, rest = line.partition(" ")
        if not line:
            return
        if not line.startswith("/"):
            self._answer(line)
        elif command == "/pair":
            self._choose(rest.strip())
        elif command == "/profile":
            self._show()
        elif command == "/describe":
            self._profiles.describe(_ACCOUNT, self._user, rest, "person")
        elif command == "/forget":
            self._forget()
        else:
            print(_HELP)

    def _person(self) -> Person:
        profile = self._profiles.get(_ACCOUNT, self._user)
        return self._profiles.person(_ACCOUNT, profile, self._backend)

    def _answer(self, question: str) -> None:
        messages = [{"role": "user", "content": question}]
        reply = self._backend.reply(self._person(), messages, self._sampling)
        for piece in reply.pieces:
            print(plain(piece), end="", flush=True)
        print()

    def _choose(self, question: str) -> None:
        person = self._person()
        if question:
            pair = self._pairs.about(person, question, self._sampling)
        else:
            found = self._pairs.next(person)
            if found is None:
                raise FspoError("there is no pair to ask about; give a question, or --pairs")
            pair = found
        print(f"{plain(pair['prompt'])}\n")
        for number, answer in enumerate(pair["answers"], 1):
            print(f"[{number}] {plain(answer)}\n")
        said = input("1 or 2, or nothing to leave it: ").strip()
        if said not in ("1", "2"):
            return
        chosen, rejected = pair["answers"] if said == "1" else reversed(pair["answers"])
        _, old = self._profiles.choose(_ACCOUNT, self._user, pair["prompt"], chosen, rejected)
        print("kept" + (", instead of what you chose before" if old else ""))

    def _show(self) -> None:
        profile = self._profiles.get(_ACCOUNT, self._user)
        told = {"model": " (the model's words)", "person": " (yours)"}.get(profile.described_by, "")
        print(f"description{told}: {plain(profile.description) or 'none yet'}")
        for choice in profile.choices:
            gone = " (superseded)" if choice.superseded_by else ""
            print(f"- {plain(choice.prompt)}{gone}")
            print(f"    + {plain(choice.chosen)}\n    - {plain(choice.rejected)}")

    def _forget(self) -> None:
        if input("delete all of it? It cannot be had back. yes or no: ").strip() == "yes":
            key = self._profiles.delete(_ACCOUNT, self._user)
            if key is not None:
                self._backend.forget(key)
            print("deleted" if self._profiles.erased else "deleted; not yet gone from the disk")


def plain(text: str) -> str:
    """A text without characters that move the cursor, ring, or change colors; lines stay."""
    return _ORDERS.sub("", text)

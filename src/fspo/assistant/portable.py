"""A profile as one JSON file that its user can keep, read, and take elsewhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import uuid4

from fspo.assistant.profiles import MOST_CHOICES, Choice, Profile, check_choice, check_text
from fspo.errors import FspoError
from fspo.web.database import now

_FORMAT = "fspo-profile"


class Brought(NamedTuple):
    """The contents of an exported profile: `Profiles.bring` takes them."""

    description: str
    by: str
    choices: list[Choice]


def exported(profile: Profile) -> dict[str, Any]:
    """All that is kept of a user; a superseded choice names the place of the one after it."""
    places = {choice.id: place for place, choice in enumerate(profile.choices)}
    return {
        "format": _FORMAT,
        "version": 1,
        "user": profile.user,
        "description": profile.description,
        "described_by": profile.described_by,
        "choices": [
            {
                "prompt": choice.prompt,
                "chosen": choice.chosen,
                "rejected": choice.rejected,
                "superseded_by": places.get(choice.superseded_by or ""),
                "created": choice.created.isoformat(),
            }
            for choice in profile.choices
        ],
    }


def brought(value: Any) -> Brought:
    """Reads what `exported` gave, checking every field.

    Raises:
        FspoError: if it is something else; it names the field.
    """
    if not isinstance(value, dict) or value.get("format") != _FORMAT or value.get("version") != 1:
        raise FspoError(f'this is no profile: it must have "format": "{_FORMAT}", "version": 1')
    description, by = value.get("description", ""), value.get("described_by", "")
    if not isinstance(description, str) or by not in ("", "model", "person"):
        raise FspoError("description, described_by: not what an exported profile has")
    check_text("description", description)
    rows = value.get("choices", [])
    if not isinstance(rows, list) or len(rows) > MOST_CHOICES:
        raise FspoError(f"choices: must be a list of at most {MOST_CHOICES}")
    choices = [_choice(row, place) for place, row in enumerate(rows)]
    after = [_after(row, place, len(rows)) for place, row in enumerate(rows)]
    linked = [
        choice if by is None else replace(choice, superseded_by=choices[by].id)
        for choice, by in zip(choices, after, strict=True)
    ]
    return Brought(description, by if description else "", linked)


def _choice(row: Any, place: int) -> Choice:
    try:
        prompt, chosen, rejected = row["prompt"], row["chosen"], row["rejected"]
        if not all(isinstance(text, str) for text in (prompt, chosen, rejected)):
            raise TypeError("prompt, chosen and rejected must be texts")
        check_choice(prompt, chosen, rejected)
        created = datetime.fromisoformat(row["created"]) if row.get("created") else now()
        if created.tzinfo is None:
            raise ValueError("created: needs a time zone")
    except (FspoError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        told = f"{error.args[0]}: is missing" if isinstance(error, KeyError) else error
        raise FspoError(f"choices[{place}]: {told}") from error
    return Choice(uuid4().hex, prompt, chosen, rejected, None, created)


def _after(row: dict[str, Any], place: int, count: int) -> int | None:
    by = row.get("superseded_by")
    if by is None:
        return None
    if type(by) is not int or not place < by < count:
        raise FspoError(f"choices[{place}]: superseded_by: must be a later place, or null")
    return by

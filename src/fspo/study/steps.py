"""Decides where a participant is in the study, from the database, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fspo.study.tables import Answer, Generation, ItemRow, Participant


@dataclass(frozen=True)
class Step:
    """The place of a participant in the study.

    Attributes:
        kind: "instructions", "item", "introduction", "waiting", "asks" or "done".
        item: the current item, where there is one.
        left: the answer to show on its left, once both are there.
        right: the one on its right.
        number: of the item in its stage, from 1.
        of: how many items the stage has.
        made: answers that are ready for this participant.
        wanted: answers that the participant will be shown in all.
    """

    kind: str
    item: ItemRow | None = None
    left: str = ""
    right: str = ""
    number: int = 0
    of: int = 0
    made: int = 0
    wanted: int = 0


def current_step(session: Session, participant: Participant) -> Step:
    """Returns what the participant is to do next."""
    if participant.finished is not None:
        return Step("done")
    if participant.instructed is None:
        return Step("instructions")
    own = ItemRow.participant == participant.id
    item = session.scalar(
        select(ItemRow)
        .outerjoin(Answer, Answer.item == ItemRow.id)
        .where(own, Answer.item.is_(None), ItemRow.skipped.is_(None))
        .order_by(ItemRow.place)
        .limit(1)
    )
    if item is None:
        return Step("asks")
    same = select(ItemRow.place).where(own, ItemRow.stage == item.stage).order_by(ItemRow.place)
    places = list(session.scalars(same))
    step = Step(
        "item", item, item.left, item.right, number=places.index(item.place) + 1, of=len(places)
    )
    return _judging(session, participant, item, step) if item.stage == "judge" else step


def _judging(session: Session, participant: Participant, item: ItemRow, step: Step) -> Step:
    """An item with answers by methods is shown once both are there: neither comes first."""
    states = session.execute(
        select(Generation.state, func.count())
        .join(ItemRow, ItemRow.id == Generation.item)
        .where(ItemRow.participant == participant.id)
        .group_by(Generation.state)
    )
    counts = dict(states.all())
    step = replace(step, made=counts.get("done", 0), wanted=sum(counts.values()))
    if participant.introduced is None:
        return replace(step, kind="introduction")
    if not item.left_method:  # an attention check
        return step
    done = (Generation.item == item.id) & (Generation.state == "done")
    rows = session.execute(select(Generation.method, Generation.text).where(done))
    texts = dict(rows.all())
    if item.left_method not in texts or item.right_method not in texts:
        return replace(step, kind="waiting")
    return replace(step, left=texts[item.left_method], right=texts[item.right_method])

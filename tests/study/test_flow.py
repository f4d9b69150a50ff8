"""The participant's way through the study, also where it is a crooked one."""

from __future__ import annotations

from fspo.study.records import read_records


def chosen(run):
    return {(i.participant, i.place): i.choice for i in read_records(run.database).items}


def test_from_consent_to_the_code(run, walker, attentive):
    page = walker.walk(attentive)
    assert page.texts["code"] == "DONE"
    records = read_records(run.database)
    items = records.items
    assert [i.stage for i in items] == ["practice"] + ["label"] * 9 + ["judge"] * 12
    assert all(i.choice for i in items)
    assert records.people[0].finished
    judged = [i for i in items if i.stage == "judge" and not i.is_check]
    assert [i.chosen_method for i in judged] == ["personal"] * 11
    assert not any(i.failed for i in items)
    # What the policy was told is what was chosen, and nothing of the checks.
    person = run.backends["personal"].people[0]
    labels = [i for i in items if i.stage == "label" and not i.is_check]
    assert [s.chosen for s in person.shots] == [
        i.left if i.choice == "left" else i.right for i in labels
    ]
    assert person.key in run.backends["personal"].forgotten

"""Explains the columns of an export."""

_MOMENT = "time in UTC; empty if it did not come to that"

CODEBOOK = {
    "participants": {
        "participant": "number, from 0, in the order in which people began",
        "language": "in which the study was shown",
        "begun": "agreed to take part: time in UTC",
        "instructed": f"left the instructions: {_MOMENT}",
        "labeled": f"labeled the last pair: {_MOMENT}",
        "introduced": f"began to judge: {_MOMENT}",
        "finished": f"sent the last page: {_MOMENT}",
        "seen": "sent anything last: time in UTC",
    },
    "items": {
        "participant": "number, as in participants",
        "place": "in the participant's order, from 0",
        "stage": "practice, label (pairs that answers were adapted to) or judge (blind)",
        "question": "what both sides answer",
        "left": "the answer on the left; empty if it was not written",
        "right": "the answer on the right; empty if it was not written",
        "left_method": "judge: the method whose answer was on the left",
        "right_method": "judge: the method whose answer was on the right",
        "is_check": "whether it is an attention check",
        "right_choice": "attention checks: the side that is right",
        "source": "label: the row of the dataset, or the place in the study's file",
        "shown": f"shown first: {_MOMENT}",
        "skipped": f"left out because a method failed to answer: {_MOMENT}",
        "choice": "left or right; empty if there was none",
        "chosen_method": "judge: the method whose answer was chosen",
        "failed": "whether it is an attention check that was answered wrongly",
        "seconds": "from first shown to chosen, as the server saw it",
        "answered": f"chosen: {_MOMENT}",
    },
    "replies": {
        "participant": "number, as in participants",
        "name": "of the question, as in the study's file",
        "value": "what was chosen or written",
    },
}

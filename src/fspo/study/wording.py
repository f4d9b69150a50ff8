"""The words of the pages' buttons and notes: English, unless the study's file says otherwise."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

ENGLISH = {
    "skip": "Skip to the content",
    "agree": "I have read this and agree to take part",
    "start": "Agree and start",
    "must_agree": "Tick the box to take part, or close this page.",
    "contact": "Questions? Write to",
    "go_on": "Continue",
    "practice": "Practice",
    "label": "Your preferences",
    "judge": "Your judgment",
    "of": "of",
    "question": "Question",
    "left": "Left answer",
    "right": "Right answer",
    "choose_left": "I prefer the left answer",
    "choose_right": "I prefer the right answer",
    "keys": "Keys: the left and right arrows choose.",
    "too_soon": "That was quick. Please read both answers, then choose.",
    "wait_title": "Answers are being written for you",
    "wait": "This page goes on by itself as soon as the next answers are ready.",
    "wait_by_hand": "Look whether they are ready",
    "ready": "answers ready",
    "asks": "A few last questions",
    "asks_note": "You may leave any of them empty.",
    "no_answer": "No answer",
    "finish": "Finish",
    "done": "Thank you",
    "code": "Your completion code",
    "back_to_platform": "Return to the recruitment platform",
    "withdraw": "Withdraw, and delete my answers",
    "withdraw_title": "Withdraw from the study?",
    "withdraw_note": "Everything that you answered is deleted at once. This cannot be undone.",
    "withdraw_yes": "Delete my answers",
    "withdraw_no": "No, go back",
    "withdrawn": "Your answers have been deleted. You can close this page.",
    "lost": "This page does not exist",
    "lost_note": "Open the study's link again, as it was sent to you.",
    "taken": "You have begun already",
    "taken_note": "Go on in the browser in which you began, or write to the contact.",
    "expired": "Please send the form again",
    "expired_note": "It could not be matched to this browser. Go back, reload the page, try again.",
    "language": "Language",
}


def check_words(words: Mapping[str, str]) -> None:
    """Makes sure that there are such words.

    Raises:
        ValueError: naming the one that is unknown, and the nearest that is known.
    """
    for word in words:
        if word not in ENGLISH:
            near = difflib.get_close_matches(word, ENGLISH, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(ENGLISH)}"
            raise ValueError(f"unknown word {word!r}; {hint}")


def words_in(words: Mapping[str, str]) -> dict[str, str]:
    """English, with what the study says put over it."""
    return ENGLISH | dict(words)

"""Reads a chat completion, of which nothing is taken for granted."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any

from fspo.llm.faults import ErrorReply, filtered
from fspo.llm.meter import tokens_at_most
from fspo.llm.requests import Reply, Request

MOST_TOKENS = 10_000_000  # that one answer can have read or written; more is no number of tokens


class MalformedError(Exception):
    """A reply that is no chat completion.

    Attributes:
        lost: tokens read and written that have to be paid for nevertheless.
    """

    lost = (0, 0)


def read_completion(request: Request, completion: Any, model: str) -> Reply:
    """The reply in a completion; `request` is what was asked, and `model` who was.

    Raises:
        ErrorReply: if it is an error of the server.
        MalformedError: if it is no completion.
    """
    try:
        _check_no_error(completion)
        choice = completion["choices"][0]
        _check_no_error(choice)
        text = _text(choice["message"].get("content"))
        refused = filtered(choice)
        told = (choice.get("logprobs") or {}).get("content") if request.choices else None
        first = told[0]["top_logprobs"] if told else []
        logprobs = [(str(token["token"]), float(token["logprob"])) for token in first]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        malformed = MalformedError("a reply that is no chat completion")
        if isinstance(completion, dict) and {"choices", "usage"} & completion.keys():
            malformed.lost = used(completion, "") or tokens_at_most(request)
        raise malformed from error
    tokens = used(completion, text) or tokens_at_most(request)
    if refused:
        return Reply("", model, *tokens, refused=refused)
    return Reply(whole(text), model, *tokens, _probabilities(request.choices, logprobs))


def used(completion: Any, text: str) -> tuple[int, int] | None:
    """Returns how many tokens a server says that it read and wrote; None if that cannot be."""
    usage = completion.get("usage")
    told = usage if isinstance(usage, dict) else {}
    read = count(told.get("prompt_tokens"), least=1)
    written = count(told.get("completion_tokens"), least=1 if text else 0)
    return None if read is None or written is None else (read, written)


def count(told: Any, least: int = 0) -> int | None:
    """A number of tokens; None if it is none."""
    is_whole = type(told) is int or (isinstance(told, float) and told.is_integer())
    return int(told) if is_whole and least <= told <= MOST_TOKENS else None


def ended_in_thought(completion: Any) -> bool:
    """Returns whether an answer was cut off before there was any."""
    choice = completion["choices"][0]
    return choice.get("finish_reason") == "length" and not choice["message"].get("content")


def whole(text: str) -> str:
    """`text` without half characters, which JSON can hold and a file cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _check_no_error(body: Any) -> None:
    is_error = body.get("error") or body.get("object") == "error"
    if is_error and not body.get("choices") and not body.get("message", {}):
        raise ErrorReply(body)
    if body.get("object") == "error":
        raise ErrorReply(body)


def _text(content: Any) -> str:
    """The text of an answer, which some servers give in parts, their thinking among them."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part["text"] for part in content if part.get("type", "text") == "text")


def _probabilities(
    choices: Sequence[str], logprobs: Sequence[tuple[str, float]]
) -> tuple[float, ...]:
    """Each choice's share, from the likeliest first tokens; empty if none of them is a choice."""
    weights = [sum(exp(p) for token, p in logprobs if token.strip() == c) for c in choices]
    total = sum(weights)
    return tuple(weight / total for weight in weights) if total else ()

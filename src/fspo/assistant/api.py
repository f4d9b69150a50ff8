"""The interface: OpenAI's chat completions, and the profiles, pairs and ranks behind them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anyio
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fspo.assistant import wire
from fspo.assistant.backend import Backend, Person, Reply, Sampling
from fspo.assistant.callers import Callers, Refused, user_of
from fspo.assistant.pairs import Pairs
from fspo.assistant.portable import brought, exported
from fspo.assistant.profiles import Choice, Profile, Profiles
from fspo.errors import FspoError

_NOBODY = Person("")


@dataclass(frozen=True)
class Assistant:
    """What the interface stands on."""

    backend: Backend
    profiles: Profiles
    pairs: Pairs
    callers: Callers
    sampling: Sampling

    def models(self) -> tuple[str, str]:
        """The name of the model that knows its users, and of the one that knows nobody."""
        name = self.backend.abilities.models[0]
        return name, f"{name}-plain"

    def profile(self, request: Request, scope: str, named: str | None) -> tuple[str, Profile]:
        """The account and the profile that a request is about, if its caller may reach it.

        Raises:
            Refused: if it may not, or names nobody.
        """
        caller = self.callers.of(request, scope)
        user = user_of(caller, named)
        if user is None:
            raise Refused(400, "user: say whose profile; this key speaks for many", "no_user")
        return caller.account, self.profiles.get(caller.account, user)

    def person(self, account: str, profile: Profile) -> Person:
        """Who is answered."""
        return self.profiles.person(account, profile, self.backend)


def routes(assistant: Assistant) -> APIRouter:
    """All of `/v1`."""
    router = APIRouter(prefix="/v1")
    _add_chat(router, assistant)
    _add_choices(router, assistant)
    _add_profile(router, assistant)
    return router


def _add_chat(router: APIRouter, assistant: Assistant) -> None:
    personal, plain = assistant.models()

    @router.get("/models", tags=["chat"])
    def models(request: Request) -> dict[str, Any]:
        """The models there are: one that answers as each user likes it, and one for nobody."""
        assistant.callers.of(request, "chat")
        about = {"object": "model", "created": 0, "owned_by": "fspo"}
        rows = [{"id": name} | about for name in (personal, plain)]
        return {"object": "list", "data": rows}

    @router.post("/chat/completions", tags=["chat"])
    def chat(request: Request, asked: wire.ChatRequest) -> Response:
        """Answers as the user would like it, by the choices in the user's profile."""
        caller = assistant.callers.of(request, "chat")
        user = user_of(caller, asked.user)
        if asked.model not in (personal, plain):
            told = f"there is no model {asked.model!r}; there are {personal} and {plain}"
            raise Refused(404, told, "model_not_found")
        messages = [message.plain() for message in asked.messages]
        sampling = asked.sampling(assistant.sampling)
        if asked.model == plain:
            reply = assistant.backend.plain(messages, sampling)
        elif user is None:
            reply = assistant.backend.reply(_NOBODY, messages, sampling)
        else:
            profile = assistant.profiles.get(caller.account, user)
            person = assistant.person(caller.account, profile)
            reply = assistant.backend.reply(person, messages, sampling)
        return _answered(asked, reply)


def _answered(asked: wire.ChatRequest, reply: Reply) -> Response:
    answer_id, created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
    if not asked.stream:
        text = "".join(reply.pieces)
        return JSONResponse(wire.completion(answer_id, asked.model, created, text, reply))
    with_usage = bool(asked.stream_options and asked.stream_options.include_usage)
    # The first piece is waited for, so that what is wrong with a request is still an error.
    first = next(reply.pieces, None)
    events = _events(answer_id, asked.model, created, reply, first, with_usage)
    return _Stream(events, reply)


def _events(
    answer_id: str, model: str, created: int, reply: Reply, first: str | None, with_usage: bool
) -> Iterator[str]:
    def event(value: dict[str, Any]) -> str:
        return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"

    def piece(delta: dict[str, str], finish: str | None = None) -> str:
        return event(wire.chunk(answer_id, model, created, delta, finish))

    yield piece({"role": "assistant", "content": ""})
    if first is not None:
        yield piece({"content": first})
        try:
            for text in reply.pieces:
                yield piece({"content": text})
        except FspoError as error:  # too late for a status: clients look for this
            yield event({"error": {"message": str(error), "type": "server_error"}})
            return
    yield piece({}, reply.finish_reason)
    if with_usage:
        last = wire.chunk(answer_id, model, created, {}) | {"choices": []}
        yield event(last | {"usage": wire.usage(reply)})
    yield "data: [DONE]\n\n"


class _Stream(StreamingResponse):
    """A stream of events that stops the work behind it when the client has gone."""

    def __init__(self, events: Iterator[str], reply: Reply) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._pieces = reply.pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            close = getattr(self._pieces, "close", None)
            if close:
                with anyio.CancelScope(shield=True):  # cancelled is just what this is, by now
                    await run_in_threadpool(close)


def _add_choices(router: APIRouter, assistant: Assistant) -> None:
    @router.get("/preferences", tags=["preferences"])
    def choices(request: Request, user: str | None = None) -> dict[str, Any]:
        """A user's choices, newest last, the superseded ones among them."""
        _, profile = assistant.profile(request, "preferences", user)
        return {"object": "list", "data": [_shown(choice) for choice in profile.choices]}

    @router.post("/preferences", tags=["preferences"])
    def choose(request: Request, made: wire.ChoiceRequest) -> dict[str, Any]:
        """Adds a choice, and says which older one it supersedes."""
        account, profile = assistant.profile(request, "preferences", made.user)
        new, old = assistant.profiles.choose(
            account, profile.user, made.prompt, made.chosen, made.rejected
        )
        return _shown(new) | {"supersedes": _shown(old) if old else None}

    @router.delete("/preferences/{choice}", tags=["preferences"])
    def withdraw(request: Request, choice: str, user: str | None = None) -> dict[str, Any]:
        """Deletes a choice for good; `erased` says whether it is gone from the disk already."""
        account, profile = assistant.profile(request, "preferences", user)
        if choice not in {known.id for known in profile.choices}:
            raise Refused(404, "there is no such choice in this profile", "not_found")
        assistant.profiles.withdraw(account, profile.user, choice)
        return {"id": choice, "deleted": True, "erased": assistant.profiles.erased}

    @router.post("/pairs", tags=["preferences"])
    def pair(request: Request, asked: wire.PairRequest) -> dict[str, Any]:
        """Two answers to choose between; without a prompt, those that are to tell most."""
        account, profile = assistant.profile(request, "preferences", asked.user)
        if asked.prompt is not None:
            person = assistant.person(account, profile)
            return assistant.pairs.about(person, asked.prompt, assistant.sampling)
        besides = asked.besides
        found = assistant.pairs.next(
            profile.person(), (besides.prompt, besides.answers) if besides else None
        )
        if found is None:
            raise Refused(404, "there is no pair left to ask about", "no_pairs")
        return found

    @router.post("/rank", tags=["preferences"])
    def rank(request: Request, asked: wire.RankRequest) -> dict[str, Any]:
        """Orders answers as the user would; only differences of rewards mean something."""
        _, profile = assistant.profile(request, "rank", asked.user)
        rewards = assistant.backend.rewards(profile.person(), asked.prompt, asked.answers)
        order = sorted(range(len(rewards)), key=lambda index: -rewards[index])
        return {
            "object": "list",
            "data": [
                {"rank": place, "index": index, "reward": round(rewards[index], 4)}
                for place, index in enumerate(order, 1)
            ],
        }


def _add_profile(router: APIRouter, assistant: Assistant) -> None:
    @router.get("/profile", tags=["profile"])
    def profile(request: Request, user: str | None = None) -> dict[str, Any]:
        """All that is kept of a user, as one JSON object that PUT takes."""
        return exported(assistant.profile(request, "profile", user)[1])

    @router.put("/profile", tags=["profile"])
    def bring(request: Request, value: dict[str, Any], user: str | None = None) -> dict[str, Any]:
        """Replaces a user's profile by an exported one: of `user`, or else of whom it names."""
        named = value.get("user") if user is None else user
        if named is not None and not isinstance(named, str):
            raise Refused(400, "user: must be a text", "user")
        account, old = assistant.profile(request, "profile", named)
        assistant.backend.forget(old.key)
        return exported(assistant.profiles.bring(account, old.user, *brought(value)))

    @router.patch("/profile", tags=["profile"])
    def describe(request: Request, told: wire.DescriptionRequest) -> dict[str, Any]:
        """Sets what is said of the user; "" lets the model describe again, where it can."""
        account, old = assistant.profile(request, "profile", told.user)
        profile = assistant.profiles.describe(account, old.user, told.description, by="person")
        if not profile.description:
            assistant.person(account, profile)
        return exported(assistant.profiles.get(account, old.user))

    @router.delete("/profile", tags=["profile"])
    def delete(request: Request, user: str | None = None) -> dict[str, Any]:
        """Deletes all that is kept of a user, for good; `erased`: from the disk already."""
        account, old = assistant.profile(request, "profile", user)
        assistant.profiles.delete(account, old.user)
        assistant.backend.forget(old.key)
        return {"user": old.user, "deleted": True, "erased": assistant.profiles.erased}


def _shown(choice: Choice) -> dict[str, Any]:
    return {
        "id": choice.id,
        "prompt": choice.prompt,
        "chosen": choice.chosen,
        "rejected": choice.rejected,
        "superseded_by": choice.superseded_by,
        "created": choice.created.isoformat(),
    }

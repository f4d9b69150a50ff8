"""The interface: OpenAI's chat completions, and the profiles, pairs and ranks behind them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fspo.assistant import wire
from fspo.assistant.answering import Answers, Work, wanted
from fspo.assistant.backend import Backend, Person, Reply
from fspo.assistant.callers import Callers, Refused, user_of
from fspo.assistant.keys import Caller
from fspo.assistant.pairs import Pairs
from fspo.assistant.portable import brought, exported
from fspo.assistant.profiles import Choice, Profile, Profiles
from fspo.errors import FspoError, ServerError
from fspo.llm.sampling import Sampling
from fspo.methods.untrained.best_of import all_finite

_NOBODY = Person("")
# What a key must be good for, by the first part of the path behind /v1.
_SCOPES = {
    "models": "chat",
    "chat": "chat",
    "preferences": "preferences",
    "pairs": "preferences",
    "rank": "rank",
    "profile": "profile",
}


@dataclass(frozen=True)
class Assistant:
    """Holds what the interface stands on."""

    backend: Backend
    profiles: Profiles
    pairs: Pairs
    callers: Callers
    sampling: Sampling
    answers: Answers

    def models(self) -> tuple[str, str]:
        """The name of the model that knows its users, and of the one that knows nobody."""
        name = self.backend.abilities.models[0]
        return name, f"{name}-plain"

    def profile(self, request: Request, named: str | None) -> tuple[str, Profile]:
        """The account and the profile that a request is about, if its caller may reach it.

        Raises:
            Refused: if it may not, or names nobody.
        """
        caller: Caller = request.state.caller
        user = user_of(caller, named)
        if user is None:
            raise Refused(400, "user: say whose profile; this key speaks for many", "no_user")
        return caller.account, self.profiles.get(caller.account, user)

    def person(self, account: str, profile: Profile) -> Person:
        """Returns who is answered."""
        return self.profiles.person(account, profile, self.backend)


def routes(assistant: Assistant) -> APIRouter:
    """All of `/v1`."""
    router = APIRouter(prefix="/v1", route_class=_key_first(assistant.callers))
    _add_chat(router, assistant)
    _add_choices(router, assistant)
    _add_profile(router, assistant)
    return router


def _key_first(callers: Callers) -> type[APIRoute]:
    """Routes that find out who is asking, and refuse whoever may not, before a body is read."""

    class KeyFirst(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
            handle = super().get_route_handler()
            scope = _SCOPES[self.path.split("/")[2]]

            async def handler(request: Request) -> Response:
                request.state.caller = await run_in_threadpool(callers.of, request, scope)
                return await handle(request)

            return handler

    return KeyFirst


def _add_chat(router: APIRouter, assistant: Assistant) -> None:
    personal, plain = assistant.models()

    @router.get("/models", tags=["chat"])
    def models() -> dict[str, Any]:
        """The models there are: one that answers as each user likes it, and one for nobody."""
        about = {"object": "model", "created": 0, "owned_by": "fspo"}
        rows = [{"id": name} | about for name in (personal, plain)]
        return {"object": "list", "data": rows}

    @router.post("/chat/completions", tags=["chat"])
    async def chat(request: Request, asked: wire.ChatRequest) -> Response:
        """Answers as the user would like it, by the choices in the user's profile."""
        caller: Caller = request.state.caller
        user = user_of(caller, asked.user)
        if asked.model not in (personal, plain):
            told = f"there is no model {asked.model!r}; there are {personal} and {plain}"
            raise Refused(404, told, "model_not_found")
        messages = [message.plain() for message in asked.messages]
        sampling = asked.sampling(assistant.sampling)

        def reply() -> Reply:
            if asked.model == plain:
                return assistant.backend.plain(messages, sampling)
            if user is None:
                return assistant.backend.reply(_NOBODY, messages, sampling)
            profile = assistant.profiles.get(caller.account, user)
            person = assistant.person(caller.account, profile)
            return assistant.backend.reply(person, messages, sampling)

        return await _answered(request, asked, reply, assistant.answers)


async def _answered(
    request: Request, asked: wire.ChatRequest, reply: Callable[[], Reply], answers: Answers
) -> Response:
    answer_id, created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
    if not asked.stream:

        def written() -> tuple[Reply, str]:
            own = reply()
            return own, "".join(wanted(own.pieces))

        own, text = await answers.one(request, written)
        return JSONResponse(wire.completion(answer_id, asked.model, created, text, own))

    def pieces() -> Iterator[tuple[Reply, str | None]]:
        own = reply()
        with closing(wanted(own.pieces)) as texts:
            for piece in texts:
                yield own, piece
        yield own, None  # it has ended, and all is known of it

    with_usage = bool(asked.stream_options and asked.stream_options.include_usage)
    work = answers.start(pieces)
    # The first piece is waited for, so that what is wrong with a request is still an error.
    own, first = await work.first(request)
    return _Stream(_events(answer_id, asked.model, created, work, own, first, with_usage), work)


async def _events(
    answer_id: str,
    model: str,
    created: int,
    work: Work[tuple[Reply, str | None]],
    reply: Reply,
    first: str | None,
    with_usage: bool,
) -> AsyncIterator[str]:
    def event(value: dict[str, Any]) -> str:
        return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"

    def piece(delta: dict[str, str], finish: str | None = None) -> str:
        return event(wire.chunk(answer_id, model, created, delta, finish))

    yield piece({"role": "assistant", "content": ""})
    if first is not None:
        yield piece({"content": first})
        try:
            async for _, text in work:
                if text is not None:
                    yield piece({"content": text})
        except FspoError as error:  # too late for a status: clients look for this
            told = error.public if isinstance(error, ServerError) else str(error)
            yield event({"error": {"message": told, "type": "server_error"}})
            return
    yield piece({}, reply.finish_reason)
    if with_usage:
        last = wire.chunk(answer_id, model, created, {}) | {"choices": []}
        yield event(last | {"usage": wire.usage(reply)})
    yield "data: [DONE]\n\n"


class _Stream(StreamingResponse):
    """A stream of events that stops the work behind it when the client has gone."""

    def __init__(self, events: AsyncIterator[str], work: Work[Any]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._work.leave()


def _add_choices(router: APIRouter, assistant: Assistant) -> None:
    @router.get("/preferences", tags=["preferences"])
    def choices(request: Request, user: str | None = None) -> dict[str, Any]:
        """A user's choices, newest last, the superseded ones among them."""
        _, profile = assistant.profile(request, user)
        return {"object": "list", "data": [_shown(choice) for choice in profile.choices]}

    @router.post("/preferences", tags=["preferences"])
    def choose(request: Request, made: wire.ChoiceRequest) -> dict[str, Any]:
        """Adds a choice, and says which older one it supersedes."""
        account, profile = assistant.profile(request, made.user)
        new, old = assistant.profiles.choose(
            account, profile.user, made.prompt, made.chosen, made.rejected
        )
        return _shown(new) | {"supersedes": _shown(old) if old else None}

    @router.delete("/preferences/{choice}", tags=["preferences"])
    def withdraw(request: Request, choice: str, user: str | None = None) -> dict[str, Any]:
        """Deletes a choice for good; `erased` says whether it is gone from the disk already."""
        account, profile = assistant.profile(request, user)
        if choice not in {known.id for known in profile.choices}:
            raise Refused(404, "there is no such choice in this profile", "not_found")
        assistant.profiles.withdraw(account, profile.user, choice)
        return {"id": choice, "deleted": True, "erased": assistant.profiles.erased}

    @router.post("/pairs", tags=["preferences"])
    async def pair(request: Request, asked: wire.PairRequest) -> dict[str, Any]:
        """Two answers to choose between; without a prompt, those that are to tell most."""

        def find() -> dict[str, Any]:
            account, profile = assistant.profile(request, asked.user)
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

        return await assistant.answers.one(request, find)

    @router.post("/rank", tags=["preferences"])
    async def rank(request: Request, asked: wire.RankRequest) -> dict[str, Any]:
        """Orders answers as the user would; only differences of rewards mean something."""

        def price() -> list[float]:
            _, profile = assistant.profile(request, asked.user)
            rewards = assistant.backend.rewards(profile.person(), asked.prompt, asked.answers)
            return all_finite(rewards)

        rewards = await assistant.answers.one(request, price)
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
        return exported(assistant.profile(request, user)[1])

    @router.put("/profile", tags=["profile"])
    def bring(request: Request, value: dict[str, Any], user: str | None = None) -> dict[str, Any]:
        """Replaces a user's profile by an exported one: of `user`, or else of whom it names."""
        named = value.get("user") if user is None else user
        if named is not None and not isinstance(named, str):
            raise Refused(400, "user: must be a text", "user")
        account, old = assistant.profile(request, named)
        assistant.backend.forget(old.key)
        return exported(assistant.profiles.bring(account, old.user, *brought(value)))

    @router.patch("/profile", tags=["profile"])
    async def describe(request: Request, told: wire.DescriptionRequest) -> dict[str, Any]:
        """Sets what is said of the user; "" lets the model describe again, where it can."""

        def written() -> dict[str, Any]:
            account, old = assistant.profile(request, told.user)
            profile = assistant.profiles.describe(account, old.user, told.description, by="person")
            if not profile.description:
                assistant.person(account, profile)
            return exported(assistant.profiles.get(account, old.user))

        return await assistant.answers.one(request, written)

    @router.delete("/profile", tags=["profile"])
    def delete(request: Request, user: str | None = None) -> dict[str, Any]:
        """Deletes all that is kept of a user, for good; `erased`: from the disk already."""
        account, old = assistant.profile(request, user)
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

"""The requests as they are checked, and the answers in OpenAI's form."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fspo.llm.sampling import Sampling

Text = Annotated[str, Field(max_length=100_000)]
Stop = Annotated[str, Field(max_length=200)]
Name = Annotated[str, Field(min_length=1, max_length=256)]


class Wire(BaseModel):
    """A request; OpenAI's clients send fields that mean nothing here, and these are passed over."""

    model_config = ConfigDict(extra="ignore", strict=False)


class Part(Wire):
    """A part of a message: text is the only kind that is taken."""

    type: Literal["text"]
    text: Text


class Message(Wire):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[Part] | None = ""

    def plain(self) -> dict[str, str]:
        """The message with its content as one text; a developer is what a system was."""
        content = self.content or ""
        if not isinstance(content, str):
            content = "".join(part.text for part in content)
        return {"role": "system" if self.role == "developer" else self.role, "content": content}


class StreamOptions(Wire):
    """Options of a stream."""

    include_usage: bool | None = False


class ChatRequest(Wire):
    """`/v1/chat/completions`."""

    model: Name
    messages: list[Message] = Field(min_length=1, max_length=1000)
    user: Name | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    n: Literal[1] | None = None

    def sampling(self, defaults: Sampling) -> Sampling:
        """Returns how the answer is drawn: as asked for, and else as the server does."""
        stop = [self.stop] if isinstance(self.stop, str) else list(self.stop or ())
        return Sampling(
            max_tokens=self.max_completion_tokens or self.max_tokens or defaults.max_tokens,
            temperature=defaults.temperature if self.temperature is None else self.temperature,
            top_p=self.top_p or defaults.top_p,
            stop=tuple(text for text in stop if text),
            seed=self.seed,
        )


class ChoiceRequest(Wire):
    """`POST /v1/preferences`."""

    user: Name | None = None
    prompt: str
    chosen: str
    rejected: str


class KnownPair(Wire):
    """A pair as it was given."""

    prompt: Text
    answers: Annotated[list[Text], Field(min_length=2, max_length=2)]


class PairRequest(Wire):
    """`POST /v1/pairs`: about a prompt of one's own, or about what tells most.

    `besides` is a pair that is being answered just now: it is not given again.
    """

    user: Name | None = None
    prompt: Text | None = None
    besides: KnownPair | None = None


class RankRequest(Wire):
    """`POST /v1/rank`."""

    user: Name | None = None
    prompt: Text
    answers: Annotated[list[Text], Field(min_length=2, max_length=64)]


class DescriptionRequest(Wire):
    """`PATCH /v1/profile`: "" lets the model describe again, where it can."""

    user: Name | None = None
    description: str


def completion(answer_id: str, model: str, created: int, text: str, reply: Any) -> dict[str, Any]:
    """A whole answer, as `/v1/chat/completions` gives it."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    return {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice | {"logprobs": None}],
        "usage": usage(reply),
    }


def chunk(
    answer_id: str, model: str, created: int, delta: dict[str, str], finish: str | None = None
) -> dict[str, Any]:
    """A piece of an answer, as it is streamed."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {
        "id": answer_id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": [choice],
    }


def usage(reply: Any) -> dict[str, Any]:
    """Returns how many tokens were read and written; known when the answer has ended."""
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
    }

"""How real servers say no: each form is (status, body), as JSON or as plain text."""

from __future__ import annotations


def _invalid(message: str, **more: object) -> dict:
    return {"error": {"message": message, "type": "invalid_request_error"} | more}


def _forbidden(name: str) -> list[dict]:
    echo = {"temperature": 1, "top_p": 1, "seed": 0, "stop": [], "stream_options": {}}
    told = "Extra inputs are not permitted"
    return [{"type": "extra_forbidden", "loc": ["body", name], "msg": told, "input": echo}]


SETTING_REFUSED = {
    "openai": lambda name: (
        400,
        _invalid(f"Unsupported parameter: '{name}'.", param=name, code="unsupported_parameter"),
    ),
    "openai, value": lambda name: (
        400,
        _invalid(
            f"Unsupported value: '{name}' does not support 0.7 with this model. "
            "Only the default (1) value is supported.",
            param=name,
        ),
    ),
    "param alone": lambda name: (400, _invalid("Invalid request", param=name)),
    "azure": lambda name: (
        400,
        {"error": {"code": "BadRequest", "message": f"Unrecognized argument supplied: {name}"}},
    ),
    "fastapi": lambda name: (422, {"detail": _forbidden(name)}),
    "mistral": lambda name: (
        422,
        {"object": "error", "message": {"detail": _forbidden(name)}, "type": "invalid"},
    ),
    "vllm": lambda name: (
        400,
        {"object": "error", "message": str(_forbidden(name)[0]["loc"]), "code": 400},
    ),
    "detail": lambda name: (400, {"detail": f"{name} is not supported by this server"}),
    "message": lambda name: (422, {"message": f"unknown field `{name}`"}),
    "errors": lambda name: (422, {"errors": [{"field": name, "message": f"{name}: forbidden"}]}),
    "string": lambda name: (400, {"error": f"unexpected keyword argument '{name}'"}),
    "plain": lambda name: (400, f"invalid parameter {name}\n"),
    "page": lambda name: (400, f"<html><body><h1>Bad Request</h1>bad {name}</body></html>"),
    "not implemented": lambda name: (501, f"{name} is not implemented"),
    "fault of the server": lambda name: (500, _invalid(f"{name} unsupported")),
    "status 200": lambda name: (200, _invalid(f"{name} is not supported", code=400)),
    "spelled out": lambda name: (400, f"{name.replace('_', ' ').capitalize()} is not available"),
}
PROMPT_REFUSED = {
    "azure": (
        400,
        _invalid(
            "The response was filtered due to the prompt triggering the content management policy.",
            code="content_filter",
            param="prompt",
        ),
    ),
    "openrouter": (403, _invalid("Your input was flagged", code=403, metadata={"reasons": ["x"]})),
    "fastapi": (422, {"detail": "blocked: inappropriate content"}),
    "alibaba": (400, {"error": {"code": "data_inspection_failed", "message": "Input data"}}),
    "plain": (400, "prompt was rejected"),
    "of the server": (500, {"error": {"message": "content_filter"}}),
    "status 200": (200, _invalid("content policy violation", code=400)),
    "too long": (400, _invalid("maximum context length is 9 tokens; lower max_tokens")),
    "too large": (413, "request entity too large"),
    "unspecific": (400, {"error": {"message": "Bad request"}}),
    "unprocessable": (422, ""),
}
ANSWER_WITHHELD = {
    "finish_reason": {"content": None, "finish": "content_filter"},
    "partly": {"content": "Here is how", "finish": "content_filter"},
    "refusal": {"content": None, "refusal": "I cannot help with that.", "finish": "stop"},
    "safety": {"content": "", "finish": "SAFETY"},
}

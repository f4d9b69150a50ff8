"""`fspo serve`, `fspo keys` and `fspo chat`: the assistant from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fspo.errors import FspoError
from fspo.flags import print_json

if TYPE_CHECKING:
    from fspo.assistant.backend import Backend
    from fspo.llm.sampling import Sampling
    from fspo.preferences.records import Preference
    from fspo.web.database import Database

keys_app = typer.Typer(help="Keys to the assistant's interface.", no_args_is_help=True)

DATABASE = "fspo-assistant.db"
_REVIEW = 64  # tokens: a model of its size does not know when to end

Where = Annotated[
    str, typer.Option(help="Database: a SQLite file, or postgresql://user@host/name.")
]
Policy = Annotated[
    str | None,
    typer.Option(help="A policy's folder, or a model. [default: fspo-reviews]"),
]
Server = Annotated[
    str | None, typer.Option(help="Use this OpenAI-compatible server (its /v1 URL) instead.")
]
ServerModel = Annotated[str | None, typer.Option(help="With --server: the model's name there.")]
Salt = Annotated[
    bool, typer.Option("--salt", help="With --server: separate prefix caches per user (vLLM).")
]
PairsFrom = Annotated[
    Path | None,
    typer.Option("--pairs", help="A preference dataset whose pairs people can choose between."),
]
CacheMb = Annotated[
    int, typer.Option(help="Memory for what was computed of users' choices, in MB.", min=0)
]
MaxTokens = Annotated[
    int | None,
    typer.Option(help="Longest answer in tokens. [default: 256; of fspo-reviews 64]", min=1),
]
User = Annotated[str, typer.Option(help="The user whose profile is used.")]


def serve(
    policy: Policy = None,
    server: Server = None,
    server_model: ServerModel = None,
    salt: Salt = False,
    pairs: PairsFrom = None,
    database: Where = DATABASE,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's needs keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(help="The certificate's private key (PEM).")] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="Trust the headers of a proxy on this machine.")
    ] = False,
    max_tokens: MaxTokens = None,
    requests_a_minute: Annotated[
        int, typer.Option(help="Most requests a minute from one address.", min=1)
    ] = 600,
    cache_mb: CacheMb = 1024,
) -> None:
    """Serve the assistant: a page for people, and an OpenAI-compatible interface for programs."""
    import gc

    opened = _open(database)
    from fspo.assistant.app import create_app
    from fspo.assistant.keys import has_keys
    from fspo.web.serving import is_loopback
    from fspo.web.serving import serve as run

    # Asked once, here: a key may be revoked while the model loads.
    needs_keys = has_keys(opened)
    if (behind_proxy or not is_loopback(host)) and not needs_keys:
        option = "--behind-proxy" if behind_proxy else f"--host {host}"
        raise FspoError(
            f"{option}: others can reach this, and no key is set. Make one with "
            f"`fspo keys add NAME --database ...`, or serve this machine alone."
        )
    for option, path in (("--certificate", certificate), ("--key", key)):
        if path is not None and not path.is_file():
            raise FspoError(f"{option} {path}: not found")
    backend = _backend(policy, server, server_model, salt, cache_mb)
    ours = policy is None and server is None
    sampling = _sampling(max_tokens, ours)
    app = create_app(backend, opened, _pairs(pairs, ours), sampling, requests_a_minute, needs_keys)
    gc.freeze()  # the model stays: it need not be looked through again
    run(app, host, port, _text(certificate), _text(key), behind_proxy)


def chat(
    policy: Policy = None,
    server: Server = None,
    server_model: ServerModel = None,
    pairs: PairsFrom = None,
    database: Where = DATABASE,
    user: User = "me",
    max_tokens: MaxTokens = None,
) -> None:
    """Talk to the assistant in a terminal, on the same profile as the page; /help says how."""
    opened = _open(database)
    from fspo.assistant.profiles import Profiles
    from fspo.assistant.terminal import Conversation

    profiles = Profiles(opened)
    backend = _backend(policy, server, server_model, False, 1024)
    ours = policy is None and server is None
    sampling = _sampling(max_tokens, ours)
    try:
        Conversation(backend, profiles, user, _pairs(pairs, ours), sampling).run()
    finally:
        opened.close()


@keys_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="The key's name.")],
    account: Annotated[
        str, typer.Option(help="Account whose profiles it opens; default: its own.")
    ] = "",
    user: Annotated[str | None, typer.Option(help="Only let it act for this user.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="Allow only this: chat, preferences, rank or profile.")
    ] = None,
    database: Where = DATABASE,
) -> None:
    """Make a key and print it, this once."""
    opened = _open(database)
    from fspo.assistant.keys import SCOPES, add_key

    print(add_key(opened, name, account, user, scope or SCOPES))


@keys_app.command("list")
def list_(database: Where = DATABASE) -> None:
    """Print what is known of the keys, as JSON; not the keys."""
    opened = _open(database)
    from fspo.assistant.keys import list_keys

    print_json(list_keys(opened))


@keys_app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="The key's name.")], database: Where = DATABASE
) -> None:
    """Make a key worthless, at once."""
    opened = _open(database)
    from fspo.assistant.keys import revoke_key

    revoke_key(opened, name)
    opened.close()


def _open(database: str) -> Database:
    try:
        from fspo.web.database import open_database
    except ModuleNotFoundError as error:
        raise FspoError(
            f"the package {error.name} is not installed: pip install 'fspo[serve]'"
        ) from error
    return open_database(database)


def _backend(
    policy: str | None, server: str | None, server_model: str | None, salt: bool, cache_mb: int
) -> Backend:
    if server is None:
        from fspo.assistant.local import LocalBackend
        from fspo.bundled import BUNDLED

        return LocalBackend(policy or BUNDLED.name, cache_mb * 10**6)
    if policy is not None or server_model is None:
        raise FspoError("--server: give --server-model with it, and no --policy")
    import os

    from fspo.assistant.remote import RemoteBackend

    # A key on the command line would be seen by everybody on the machine.
    return RemoteBackend(server, server_model, os.environ.get("FSPO_API_KEY"), salt=salt)


def _sampling(max_tokens: int | None, ours: bool) -> Sampling:
    from fspo.llm.sampling import Sampling

    return Sampling(max_tokens=max_tokens or (_REVIEW if ours else 256))


def _pairs(path: Path | None, by_default: bool) -> list[Preference]:
    if path is None:
        if not by_default:
            return []
        from fspo.bundled import BUNDLED

        path = BUNDLED / "pairs.jsonl"
    from fspo.preferences.reading import load_preferences

    return [preference for _, preference in load_preferences(path)]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)

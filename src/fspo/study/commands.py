"""`fspo study`: a human study from its definition to its result.

fspo study new study.yaml; fspo study preview study.yaml; fspo study simulate study.yaml
fspo study researcher study.yaml NAME; fspo study serve study.yaml; fspo study results study.yaml
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fspo.errors import FspoError
from fspo.flags import LARGEST_SEED, AsJson, print_json, show

if TYPE_CHECKING:
    from fspo.web.database import Database

study_app = typer.Typer(
    help="Run a study: people label a few pairs, are served at once, and judge blind.",
    no_args_is_help=True,
)

File = Annotated[Path, typer.Argument(help="The study's YAML file.")]
Where = Annotated[
    str | None,
    typer.Option(
        "--database", help="Database: a SQLite file or a PostgreSQL URL. [default: next to FILE]"
    ),
]


@study_app.command()
def new(file: Annotated[Path, typer.Argument(help="Where to write it.")]) -> None:
    """Write a commented definition, which runs as it is."""
    from fspo.files import write_text

    if file.exists():
        raise FspoError(f"{file}: exists; remove it, or take another name")
    write_text(file, (Path(__file__).parent / "example.yaml").read_text(encoding="utf-8"))
    print(file)


@study_app.command()
def preview(
    file: File,
    language: Annotated[
        str | None, typer.Option(help="The study's language to show. [default: its first]")
    ] = None,
    participant: Annotated[int, typer.Option(help="Which participant, by number.", min=0)] = 0,
) -> None:
    """Walk through what one participant would read."""
    from fspo.study.preview import preview as pages
    from fspo.study.reading import read_study

    study, pools = read_study(file)
    code = language or next(iter(study.languages))
    if code not in study.languages:
        raise FspoError(f"--language {code}: {file} has {', '.join(study.languages)}")
    for page in pages(study, pools[code], code, participant):
        print(page)


@study_app.command()
def serve(
    file: File,
    database: Where = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8001,
    certificate: Annotated[str | None, typer.Option(help="TLS certificate (PEM).")] = None,
    key: Annotated[str | None, typer.Option(help="The certificate's private key (PEM).")] = None,
    behind_proxy: Annotated[
        bool, typer.Option(help="Trust the headers of a proxy on this machine.")
    ] = False,
    at_once: Annotated[
        int, typer.Option(help="How many answers to write at the same time.", min=1)
    ] = 1,
    requests_a_minute: Annotated[
        int, typer.Option(help="Most requests a minute from one address.", min=1)
    ] = 600,
) -> None:
    """Serve the study to participants, and its pages to the researcher."""
    from fspo.study.app import create_app
    from fspo.study.backends import build_backends
    from fspo.study.reading import read_study
    from fspo.study.researcher import has_researcher
    from fspo.web import serving

    study, pools = read_study(file)
    opened = _open(file, database)
    if (behind_proxy or not serving.is_loopback(host)) and not has_researcher(opened):
        option = "--behind-proxy" if behind_proxy else f"--host {host}"
        raise FspoError(
            f"{option}: others can reach this; first set a researcher's password: "
            f"fspo study researcher {file} NAME"
        )
    backends = build_backends(study, file.parent)
    app = create_app(study, pools, opened, backends, at_once, requests_a_minute)
    serving.serve(app, host, port, certificate, key, behind_proxy)


@study_app.command()
def simulate(
    file: File,
    rate: Annotated[
        list[float] | None, typer.Option(help="True win rate to simulate, for each comparison.")
    ] = None,
    participants: Annotated[int, typer.Option(help="How many synthetic participants.", min=1)] = 50,
    seed: Annotated[
        int, typer.Option(help="Random seed of their choices.", min=0, max=LARGEST_SEED)
    ] = 0,
    database: Annotated[
        str | None, typer.Option(help="An empty database to fill. [default: a temporary one]")
    ] = None,
) -> None:
    """Run the study with synthetic participants over HTTP, and compare every row."""
    import tempfile

    from fspo.study.reading import read_study
    from fspo.study.simulate import simulate as run
    from fspo.web.database import open_database

    study, pools = read_study(file)
    rates = rate or [0.682] * len(study.comparisons)
    with tempfile.TemporaryDirectory() as folder:
        opened = open_database(database or str(Path(folder) / "simulated.db"))
        found = run(study, pools, opened, rates, participants, seed)
        opened.engine.dispose()
    print_json(found)
    if not found["agrees"]:
        raise typer.Exit(1)


@study_app.command()
def results(file: File, database: Where = None, as_json: AsJson = False) -> None:
    """Print win rates with intervals and tests, after the exclusion rules."""
    from fspo.study.analysis import analyze, in_words
    from fspo.study.reading import read_study
    from fspo.study.records import read_records

    study, _ = read_study(file)
    found = analyze(study, read_records(_open(file, database, must_exist=True)))
    show(found, as_json, in_words(found))


@study_app.command()
def export(
    file: File,
    out: Annotated[Path, typer.Option(help="Folder for tables, codebook and dataset.")],
    database: Where = None,
    recruitment: Annotated[
        Path | None,
        typer.Option(help="Also write participants' platform ids to this CSV file."),
    ] = None,
) -> None:
    """Write tables as parquet and CSV, a codebook, and a preference dataset to train on."""
    from fspo.study.export import export as run
    from fspo.study.export import export_recruitment
    from fspo.study.reading import read_study

    study, _ = read_study(file)
    opened = _open(file, database, must_exist=True)
    run(study, opened, out)
    print(out)
    if recruitment is not None:
        export_recruitment(opened, recruitment)
        print(recruitment)


@study_app.command()
def power(
    rate: Annotated[
        float, typer.Option(help="The true win rate that the study should detect.")
    ] = 0.6,
    questions: Annotated[
        int, typer.Option(help="Questions that each person judges in a comparison.", min=1)
    ] = 11,
    people: Annotated[
        int | None, typer.Option(help="How many people. [default: as many as are needed]", min=2)
    ] = None,
    icc: Annotated[
        float, typer.Option(help="Intraclass correlation of a person's answers.", min=0)
    ] = 0.1,
    wanted: Annotated[
        float, typer.Option("--power", help="Wanted probability of detecting it.")
    ] = 0.8,
    alpha: Annotated[float, typer.Option(help="Significance level, one-sided.")] = 0.05,
) -> None:
    """Say how many people and questions a win rate takes."""
    from fspo.study.power import report

    print_json(report(rate, questions, people, icc, wanted, alpha))


@study_app.command()
def researcher(
    file: File,
    name: Annotated[str, typer.Argument(help="The researcher's name.")],
    database: Where = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove this researcher.")] = False,
    password: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Let somebody see the researcher's pages, with a new password, or no longer.

    The password is asked for, or taken from FSPO_RESEARCHER_PASSWORD. Whoever is signed in by this
    name is signed out.
    """
    import os

    from fspo.study import researcher as access

    if password is not None:
        raise FspoError(
            "--password: everybody on this machine can see a command line, and it is kept in the "
            "shell's history. Leave it out to be asked, or set FSPO_RESEARCHER_PASSWORD"
        )
    if remove:
        opened = _open(file, database, must_exist=True)
        access.remove(opened, name)
        opened.close()
        print(f"{name} can no longer sign in")
        return
    given = os.environ.get("FSPO_RESEARCHER_PASSWORD") or typer.prompt(
        "Password", hide_input=True, confirmation_prompt=True
    )
    opened = _open(file, database)
    access.set_password(opened, name, given)
    opened.close()
    print(f"{name} can sign in at /researcher")


def _open(file: Path, database: str | None, must_exist: bool = False) -> Database:
    from fspo.web.database import open_database

    where = database or str(file.with_suffix(".db"))
    if must_exist and "://" not in where and not Path(where).is_file():
        raise FspoError(f"--database {where}: there is no such file; nobody has been served yet")
    return open_database(where)

"""The command line: each command is a few lines that call one room."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from fspo import faults
from fspo.assistant import commands as assistant
from fspo.errors import FspoError
from fspo.flags import LARGEST_SEED, AsJson, Commands, Quiet, Seed, hush, show
from fspo.locks import only_run
from fspo.preferences import commands as preferences
from fspo.study.commands import study_app


class _Commands(Commands):
    """Runs a command, and turns whatever it raises into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command here, since typer takes the EOFError of an empty file for Ctrl-D."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except (Exception, KeyboardInterrupt) as error:
            # typer's own: wrong usage, an exit code, or Ctrl-D at a question; and a closed pipe
            if hasattr(error, "exit_code") or isinstance(error, typer.Abort) or _gone(error):
                raise
            code = faults.tell(error)
            _let_go_of_stdout()
            raise typer.Exit(code) from error


def _gone(error: BaseException) -> bool:
    """Whether nobody reads what is printed any more, as behind `| head`."""
    if not isinstance(error, BrokenPipeError):
        return False
    try:
        watched = select.poll()
        watched.register(sys.stdout.fileno(), 0)
        return bool(watched.poll(0))  # a pipe without a reader reports itself
    except (AttributeError, OSError, ValueError):
        return True


def _let_go_of_stdout() -> None:
    """Lets Python end in silence where standard output cannot be written (a full disk)."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = typer.Typer(
    cls=_Commands,
    help="Few-shot preference optimization: a model that learns from a handful of choices how "
    "a person likes to be answered.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

HoldoutUsers = Annotated[
    float | None, typer.Option(help="A share of users that training does not see.")
]
HoldoutPrompts = Annotated[
    float | None, typer.Option(help="A share of prompts that training does not see.")
]
DropTies = Annotated[
    bool | None, typer.Option("--drop-ties", help="Leave out rows with two equal responses.")
]
Mirroring = Annotated[
    bool, typer.Option("--mirrored", help="Ask the policy with every choice turned round, too.")
]
Text = str | None


def main() -> None:
    """Runs the command line; what a user can put right ends in one line and exit code 2."""
    # Libraries' notices to their own developers are nothing that a user can act on.
    warnings.filterwarnings("ignore", category=FutureWarning)
    # PyTorch takes large tensors in huge pages, and gives them back whole: a sixth less memory.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # Letters that a terminal does not know are written as their codes.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    app()


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print it.")] = False) -> None:
    if version:
        from fspo import __version__

        print(__version__)
        raise typer.Exit


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, adapter, results and report.")],
    recipe: Annotated[Path | None, typer.Option(help="Another recipe than the demo's.")] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Synthesize, train, evaluate and report on the embedded model; goes on where it was."""
    from fspo.demo import run_demo
    from fspo.recipe import DEMO_RECIPE, DemoRecipe, read_recipe

    hush(quiet)
    settings = read_recipe(DemoRecipe, recipe or DEMO_RECIPE, {})
    with only_run(out):
        report_path = run_demo(settings, out, seed)
    print(report_path)


@app.command()
def synthesize(
    domain: Annotated[str, typer.Argument(help="A domain's name, or a folder with a domain.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder for the preference dataset.")],
    recipe: Annotated[Path | None, typer.Option(help="How it is made (YAML).")] = None,
    model: Annotated[Text, typer.Option(help="Who writes, where there is no recipe.")] = None,
    titles: Annotated[int | None, typer.Option(hidden=True)] = None,
    labeller: Annotated[Text, typer.Option(help="measured, or a model's name.")] = None,
    questions: int | None = None,
    users: int | None = None,
    preferences_per_user: int | None = None,
    budget: Annotated[float | None, typer.Option(help="The most money to spend.")] = None,
    preview: Annotated[
        int | None, typer.Option(help="Show so many requests, ask none.", min=0)
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: on a Ray cluster.")] = "local",
    workers: Annotated[int, typer.Option(help="Of the Ray cluster.", min=1)] = 2,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make synthetic users and their preferences; goes on where it was."""
    hush(quiet)
    if titles is not None:
        raise FspoError("--titles is called --questions now")
    from fspo.synthesis.run import synthesis_recipe
    from fspo.synthesis.run import synthesize as run

    given = {
        "domain": domain,
        "users": users,
        "questions": questions,
        "preferences_per_user": preferences_per_user,
        "budget": budget,
    }
    plan = synthesis_recipe(recipe, given, model, labeller)
    if preview is not None:
        from fspo.synthesis.preview import preview as look
        from fspo.synthesis.preview import render

        found = look(plan, preview, seed)
        show(found, as_json, render(found))
        return
    if engine not in ("local", "ray"):
        raise FspoError(f"--engine {engine}: use local or ray")
    with only_run(out, beside=True):
        figures = run(plan, out, seed, workers if engine == "ray" else None)
    show(figures, as_json, out)


@app.command()
def train(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe (YAML).")] = None,
    data: Text = None,
    out: Text = None,
    model: Text = None,
    adapter: Text = None,
    objective: Annotated[Text, typer.Option(help="ipo, dpo or sft (Pref-FT).")] = None,
    template: Annotated[Text, typer.Option(help="chain or paper.")] = None,
    logps: Annotated[Text, typer.Option(help="sum or mean.")] = None,
    beta: float | None = None,
    shots: int | None = None,
    episodes: int | None = None,
    learning_rate: float | None = None,
    holdout_users: HoldoutUsers = None,
    holdout_prompts: HoldoutPrompts = None,
    drop_ties: DropTies = None,
    seed: int | None = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from a checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it will take.")] = False,
    tflops: Annotated[
        float | None, typer.Option(help="Dry run: TFLOP/s to reckon with.", min=1e-6)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a policy on users' preferences, as a recipe says; flags win over the recipe."""
    flags = dict(locals())
    from fspo.recipe import TrainRecipe, read_recipe

    hush(quiet)
    given = {key: value for key, value in flags.items() if key in TrainRecipe.model_fields}
    settings = read_recipe(TrainRecipe, recipe, given)
    if dry_run:
        from fspo.learning.planning import matrix_product_rate, plan

        print(plan(settings).text(tflops or matrix_product_rate()))
        return
    from fspo.learning.train import take_leave
    from fspo.methods.train import train as run

    print(run(settings, resume))
    take_leave()


@app.command()
def evaluate(
    data: Annotated[str, typer.Option(help="A preference dataset: folder, file or hub id.")],
    policy: Annotated[list[str], typer.Option(help="What `fspo train` wrote, or NAME=FOLDER.")],
    out: Annotated[Path, typer.Option(help="Folder for results.json and the answers.")],
    recipe: Annotated[Path | None, typer.Option(help="What is measured (YAML).")] = None,
    judge: Annotated[Text, typer.Option(help="The domain whose measures judge, or none.")] = None,
    holdout_users: HoldoutUsers = None,
    holdout_prompts: HoldoutPrompts = None,
    drop_ties: DropTies = None,
    method: Annotated[
        list[str] | None, typer.Option(help='Further methods: "LoRA per user", "best of 4".')
    ] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="A simple predictor beside, such as majority.")
    ] = None,
    mirrored: Mirroring = False,
    stacked: Annotated[
        bool, typer.Option("--stacked", help="The baselines together, too, and with each policy.")
    ] = False,
    trust_domain: Annotated[
        bool, typer.Option("--trust-domain", help="Run the Python of a judge file's domain.")
    ] = False,
    shots: int | None = None,
    users: int | None = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure preference accuracy by shots and, with a judge, win rates over the base model."""
    from fspo.evaluation.evaluate import evaluate as run
    from fspo.recipe import EvaluateRecipe, read_recipe

    hush(quiet)
    keys = ("judge", "holdout_users", "holdout_prompts", "drop_ties", "shots", "users")
    given: dict[str, Any] = {key: value for key, value in locals().items() if key in keys}
    given |= {"baselines": baseline or None, "methods": method or None}
    given |= {"mirrored": mirrored or None, "stacked": stacked or None}
    settings = read_recipe(EvaluateRecipe, recipe, given)
    with only_run(out):
        results = run(data, policy, out, settings, seed, trust_domain)
    show(results, as_json, out / "results.json")


@app.command()
def audit(
    data: Annotated[str, typer.Option(help="A preference dataset: folder, file or hub id.")],
    policy: Annotated[list[str], typer.Option(help="What `fspo train` wrote, or NAME=FOLDER.")],
    out: Annotated[Path, typer.Option(help="Folder for audit.json and the answers.")],
    judge: Annotated[Text, typer.Option(help="A judge's YAML; its model reads answers.")] = None,
    shots: int | None = None,
    users: int = 8,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Look for side effects: length, false premises, flattery, facts that move with the user."""
    from fspo.evaluation.auditing import render, run_audit
    from fspo.recipe import EvaluateRecipe, read_recipe

    hush(quiet)
    recipe = read_recipe(EvaluateRecipe, None, {"shots": shots, "users": users})
    with only_run(out):
        found = run_audit(data, policy, out, recipe, seed, judge)
    show(found, as_json, render(found))


@app.command()
def paper(
    table: Annotated[str, typer.Argument(help="reviews, elix or roleplay; or a recipe's path.")],
    out: Annotated[Path, typer.Option(help="Folder for data, policies, results and the table.")],
    seed: Annotated[int, typer.Option(help="The first seed.", min=0, max=LARGEST_SEED)] = 0,
    seeds: Annotated[int, typer.Option(help="How many: each has its own users.", min=1)] = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train and evaluate what a table of the paper needs; ours beside the published figures."""
    from fspo.paper import recipe_path, run_paper
    from fspo.paper_recipe import PaperRecipe
    from fspo.paper_table import render
    from fspo.recipe import read_recipe

    hush(quiet)
    recipe = read_recipe(PaperRecipe, recipe_path(table), {})
    with only_run(out):
        found = run_paper(recipe, out, range(seed, seed + seeds))
    show(found, as_json, render(found))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A folder with results.json.")],
) -> None:
    """Write report.html, one self-contained file, from a folder's results."""
    from fspo.evaluation.report import report as run

    print(run(folder))


@app.command()
def rank(
    preferences: Annotated[Path, typer.Option(help="The user's preferences: a file or folder.")],
    prompt: Annotated[str, typer.Option(help="What was asked.")],
    answer: Annotated[list[str], typer.Option(help="A candidate; give two or more.")],
    policy: Annotated[str, typer.Option(help="What `fspo train` wrote, or NAME=FOLDER.")],
    user: Annotated[Text, typer.Option(help="Whose preferences, where there are several.")] = None,
    shots: Annotated[int | None, typer.Option(help="How many preferences to read.", min=0)] = None,
    mirrored: Mirroring = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Rank candidate answers as a user would, from that user's preferences."""
    from fspo.evaluation.ranking import rank as run
    from fspo.methods.build import methods, trained
    from fspo.preferences.reading import load_preferences
    from fspo.recipe import EvaluateRecipe

    hush(quiet)
    [found] = trained([policy])
    [method] = methods([found], [], EvaluateRecipe())
    count = int(found.settings.get("shots", 8)) if shots is None else shots
    ranked = run(method, load_preferences(preferences), prompt, answer, user, count, mirrored)
    lines = (
        f"{row['rank']}. {row['probability']:.2f}  {row['reward']:+.3f}  {row['answer']}"
        for row in ranked
    )
    show(ranked, as_json, "\n".join(lines))


app.command()(assistant.serve)
app.command()(assistant.chat)
app.add_typer(assistant.keys_app, name="keys")
app.add_typer(study_app, name="study")
app.command("import")(preferences.import_)
app.command()(preferences.push)
app.add_typer(preferences.data_app, name="data")

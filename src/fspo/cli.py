"""The command line: each command is a few lines that call one room."""

from __future__ import annotations

import contextlib
import io
import os
import select
import shlex
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from fspo import faults
from fspo.assistant import commands as assistant
from fspo.errors import FspoError
from fspo.flags import LARGEST_SEED, AsJson, Commands, Quiet, Seed, set_quiet, show
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
    """Returns whether nobody reads what is printed any more, as behind `| head`."""
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
    float | None, typer.Option(help="Share of users kept out of training, from 0 to 1.")
]
HoldoutPrompts = Annotated[
    float | None, typer.Option(help="Share of prompts kept out of training, from 0 to 1.")
]
DropTies = Annotated[
    bool | None, typer.Option("--drop-ties", help="Skip rows whose two responses are equal.")
]
Mirroring = Annotated[
    bool, typer.Option("--mirrored", help="Also ask with every shot's two responses swapped.")
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Any keys of the recipe, such as shots=4; dots lead into sections: evaluate.users=8.",
    ),
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
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe (YAML) to run instead of the demo's.")
    ] = None,
    settings: Settings = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Synthesize, train, evaluate and report on the embedded model; goes on where it was."""
    from fspo.demo import DemoRecipe, run_demo
    from fspo.recipe import DEMO_RECIPE, read_recipe

    set_quiet(quiet)
    plan = read_recipe(DemoRecipe, recipe or DEMO_RECIPE, {}, settings or ())
    with only_run(out):
        report_path = run_demo(plan, out, seed)
    print(report_path)


@app.command()
def synthesize(
    domain: Annotated[str, typer.Argument(help="A domain's name, or a folder with a domain.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder for the preference dataset.")],
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe: a YAML file, or a name from `fspo recipes`.")
    ] = None,
    settings: Settings = None,
    model: Annotated[
        Text, typer.Option(help="The language model that writes, if no recipe is given.")
    ] = None,
    titles: Annotated[
        int | None, typer.Option(help="Reviews only: how many titles to review.")
    ] = None,
    labeller: Annotated[
        Text, typer.Option(help="Who decides preferences: measured, or a model's name.")
    ] = None,
    questions: Annotated[int | None, typer.Option(help="How many questions to ask.")] = None,
    users: Annotated[int | None, typer.Option(help="How many users to make.")] = None,
    preferences_per_user: Annotated[
        int | None, typer.Option(help="How many preferences each user gets.")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(help="The most money to spend on paid models, in their currency."),
    ] = None,
    preview: Annotated[
        int | None, typer.Option(help="Only show this many requests; ask no model.", min=0)
    ] = None,
    engine: Annotated[
        str, typer.Option(help="Where models run: local, or ray for a Ray cluster.")
    ] = "local",
    workers: Annotated[int, typer.Option(help="With --engine ray: how many workers.", min=1)] = 2,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make synthetic users and their preferences; goes on where it was."""
    set_quiet(quiet)
    shared = {"domain": domain, "users": users, "preferences_per_user": preferences_per_user}
    if domain == "reviews" and recipe is None:
        others = {"labeller": labeller, "questions": questions, "budget": budget}
        others |= {"preview": preview, "engine": None if engine == "local" else engine}
        asked = [f"--{key}={value}" for key, value in others.items() if value is not None]
        if asked:
            command = ["fspo", "synthesize", "reviews", "--recipe=reviews", *asked, f"--out={out}"]
            raise FspoError(
                "reviews without a recipe are the demo's, and take no flags but --model, --titles, "
                "--users and --preferences-per-user. To make them as other domains are made: "
                f"`{shlex.join(command)}`"
            )
        from fspo.synthesis.run import run_reviews

        with only_run(out, beside=True):
            figures = run_reviews(
                shared | {"model": model, "titles": titles}, out, seed, settings or ()
            )
        show(figures, as_json, out)
        return
    if titles is not None:
        raise FspoError("--titles is for the demo's reviews; here it is --questions")
    from fspo.synthesis.described import engine_recipe, run_described

    given = shared | {"questions": questions, "budget": budget}
    plan = engine_recipe(recipe, given, model, labeller, settings or ())
    if preview is not None:
        from fspo.synthesis.preview import preview as look
        from fspo.synthesis.preview import render

        found = look(plan, preview, seed)
        show(found, as_json, render(found))
        return
    if engine not in ("local", "ray"):
        raise FspoError(f"--engine {engine}: use local or ray")
    with only_run(out, beside=True):
        figures = run_described(plan, out, seed, workers if engine == "ray" else None)
    show(figures, as_json, out)


@app.command()
def train(
    recipe: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE] [KEY=VALUE]...",
            help="A recipe: a YAML file, or a name from `fspo recipes`. Then any of its keys, such "
            "as weight_decay=0.1; dots lead into sections: lora.rank=8.",
        ),
    ] = None,
    data: Annotated[Text, typer.Option(help="The preference dataset to learn from.")] = None,
    out: Annotated[Text, typer.Option(help="Folder for the trained policy.")] = None,
    model: Annotated[Text, typer.Option(help="Base model: a folder or a hub id.")] = None,
    adapter: Annotated[Text, typer.Option(help="A LoRA adapter to start from.")] = None,
    objective: Annotated[Text, typer.Option(help="Loss: ipo, dpo or sft (Pref-FT).")] = None,
    template: Annotated[
        Text, typer.Option(help="How an episode is written: chain or paper.")
    ] = None,
    logps: Annotated[
        Text, typer.Option(help="Log-probs of a response: sum or mean over its tokens.")
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="How strongly the policy is tied to the reference.")
    ] = None,
    shots: Annotated[int | None, typer.Option(help="Preferences shown in an episode.")] = None,
    episodes: Annotated[int | None, typer.Option(help="How many episodes to train on.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The optimizer's step size.")] = None,
    holdout_users: HoldoutUsers = None,
    holdout_prompts: HoldoutPrompts = None,
    drop_ties: DropTies = None,
    seed: Annotated[
        int | None, typer.Option(help="Random seed: the same seed gives the same result.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint in --out.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only estimate time and memory; train nothing.")
    ] = False,
    tflops: Annotated[
        float | None, typer.Option(help="With --dry-run: the machine's speed in TFLOP/s.", min=1e-6)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a policy on users' preferences, as a recipe says; flags win over the recipe."""
    flags = dict(locals())
    from fspo.recipe import TrainRecipe, read_recipe

    set_quiet(quiet)
    given = {key: value for key, value in flags.items() if key in TrainRecipe.model_fields}
    path, assignments = _recipe_and_assignments(recipe or [])
    settings = read_recipe(TrainRecipe, path, given, assignments)
    if dry_run:
        from fspo.learning.planning import matrix_product_rate, plan

        print(plan(settings).text(tflops or matrix_product_rate()))
        return
    from fspo.learning.train import shutdown
    from fspo.methods.table import train as run

    print(run(settings, resume))
    shutdown()


def _recipe_and_assignments(arguments: list[str]) -> tuple[Path | None, list[str]]:
    """The recipe that is named before `key=value` arguments, if one is, and these."""
    from fspo.recipe import is_assignment

    if not arguments or is_assignment(arguments[0]):
        return None, arguments
    return Path(arguments[0]), arguments[1:]


@app.command()
def evaluate(
    data: Annotated[str, typer.Option(help="A preference dataset: folder, file or hub id.")],
    policy: Annotated[
        list[str], typer.Option(help="A policy's folder, or NAME=FOLDER to name it in reports.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for results.json and the answers.")],
    recipe: Annotated[Path | None, typer.Option(help="A recipe (YAML) of what to measure.")] = None,
    settings: Settings = None,
    judge: Annotated[
        Text, typer.Option(help="A domain's name, a judge's YAML file, or none.")
    ] = None,
    holdout_users: HoldoutUsers = None,
    holdout_prompts: HoldoutPrompts = None,
    drop_ties: DropTies = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help='Compare with this method, too: "LoRA per user", "best of 4".'),
    ] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="Compare with a simple predictor, such as majority.")
    ] = None,
    mirrored: Mirroring = False,
    stacked: Annotated[
        bool,
        typer.Option("--stacked", help="Also combine the baselines, alone and with each policy."),
    ] = False,
    trust_domain: Annotated[
        bool,
        typer.Option(
            "--trust-domain", help="Allow the judge file's domain to run its Python code."
        ),
    ] = False,
    shots: Annotated[int | None, typer.Option(help="Preferences shown of each user.")] = None,
    users: Annotated[int | None, typer.Option(help="Evaluate this many users at most.")] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure preference accuracy by shots and, with a judge, win rates over the base model."""
    from fspo.evaluation.evaluate import evaluate as run
    from fspo.evaluation.recipe import EvaluateRecipe
    from fspo.recipe import read_recipe

    set_quiet(quiet)
    keys = ("judge", "holdout_users", "holdout_prompts", "drop_ties", "shots", "users")
    given: dict[str, Any] = {key: value for key, value in locals().items() if key in keys}
    given |= {"baselines": baseline or None, "methods": method or None}
    given |= {"mirrored": mirrored or None, "stacked": stacked or None}
    plan = read_recipe(EvaluateRecipe, recipe, given, settings or ())
    with only_run(out):
        results = run(data, policy, out, plan, seed, trust_domain)
    show(results, as_json, out / "results.json")


@app.command()
def audit(
    data: Annotated[str, typer.Option(help="A preference dataset: folder, file or hub id.")],
    policy: Annotated[
        list[str], typer.Option(help="A policy's folder, or NAME=FOLDER to name it in reports.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for audit.json and the answers.")],
    judge: Annotated[
        Text, typer.Option(help="A judge's YAML file: its model checks the answers.")
    ] = None,
    shots: Annotated[int | None, typer.Option(help="Preferences shown of each user.")] = None,
    users: Annotated[int, typer.Option(help="Ask on behalf of this many users at most.")] = 8,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Look for side effects: length, false premises, flattery, facts that move with the user."""
    from fspo.evaluation.auditing import render, run_audit
    from fspo.evaluation.recipe import EvaluateRecipe
    from fspo.recipe import read_recipe

    set_quiet(quiet)
    recipe = read_recipe(EvaluateRecipe, None, {"shots": shots, "users": users})
    with only_run(out):
        found = run_audit(data, policy, out, recipe, seed, judge)
    show(found, as_json, render(found))


@app.command()
def paper(
    table: Annotated[
        str, typer.Argument(help="Which table: reviews, elix, roleplay, or a recipe (YAML).")
    ],
    out: Annotated[Path, typer.Option(help="Folder for data, policies, results and the table.")],
    settings: Settings = None,
    seed: Annotated[
        int, typer.Option(help="Random seed of the first run.", min=0, max=LARGEST_SEED)
    ] = 0,
    seeds: Annotated[int, typer.Option(help="How many runs; each has its own users.", min=1)] = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train and evaluate what a table of the paper needs; ours beside the published figures."""
    from fspo.paper import recipe_path, run_paper
    from fspo.paper_recipe import PaperRecipe
    from fspo.paper_table import render
    from fspo.recipe import read_recipe

    set_quiet(quiet)
    recipe = read_recipe(PaperRecipe, recipe_path(table), {}, settings or ())
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
    preferences: Annotated[Path, typer.Option(help="Preferences of the user: a file or folder.")],
    prompt: Annotated[str, typer.Option(help="The prompt that the candidates answer.")],
    answer: Annotated[
        list[str], typer.Option(help="A candidate answer; give this option twice or more.")
    ],
    policy: Annotated[
        str, typer.Option(help="A policy's folder, or NAME=FOLDER to name it in reports.")
    ],
    user: Annotated[
        Text, typer.Option(help="The user's id, if the file has several users.")
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(help="How many of the user's preferences to show the policy.", min=0),
    ] = None,
    mirrored: Mirroring = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Rank candidate answers as a user would, from that user's preferences."""
    from fspo.evaluation.ranking import rank as run
    from fspo.llm.sampling import Sampling
    from fspo.methods.build import trained
    from fspo.methods.table import load
    from fspo.preferences.reading import load_preferences

    set_quiet(quiet)
    [found] = trained([policy])
    method = load(*found, Sampling())
    count = int(found.settings.get("shots", 8)) if shots is None else shots
    ranked = run(method, load_preferences(preferences), prompt, answer, user, count, mirrored)
    lines = (
        f"{row['rank']}. {row['probability']:.2f}  {row['reward']:+.3f}  {row['answer']}"
        for row in ranked
    )
    show(ranked, as_json, "\n".join(lines))


@app.command()
def recipes(
    name: Annotated[Text, typer.Argument(help="Print this recipe, to change a copy of it.")] = None,
    path: Annotated[bool, typer.Option("--path", help="Print where it is, instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the recipes that come with fspo, or print one."""
    from fspo.recipe_list import find_recipe, list_recipes, render

    if name is None:
        listed = list_recipes()
        show(listed, as_json, render(listed))
        return
    file = find_recipe(name)
    print(file if path else file.read_text(encoding="utf-8"), end="\n" if path else "")


app.command()(assistant.serve)
app.command()(assistant.chat)
app.add_typer(assistant.keys_app, name="keys")
app.add_typer(study_app, name="study")
app.command("import")(preferences.import_)
app.command()(preferences.push)
app.add_typer(preferences.data_app, name="data")

# What `fspo` alone shows first.
_START = ("demo", "train", "serve")
for _command in app.registered_commands:
    _name = _command.name or getattr(_command.callback, "__name__", "")
    _command.rich_help_panel = "Start here" if _name in _START else "All other commands"
for _group in app.registered_groups:
    _group.rich_help_panel = "All other commands"

"""Recipes: the settings of a run, read from YAML, with unknown keys and wrong values named."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError, create_model, model_validator

from fspo.errors import FspoError, cut, excerpt
from fspo.home import in_home
from fspo.learning.templates import CHAIN
from fspo.methods.table import METHODS
from fspo.sections import ObjectiveName, TemplateName
from fspo.sections import Section as Section
from fspo.yaml_files import parse_yaml, read_yaml

RECIPES = Path(__file__).parent / "recipes"
DEMO_RECIPE = RECIPES / "demo.yaml"

Place = Annotated[str, AfterValidator(in_home)]  # a path, or a name
# What every library takes that draws numbers from it.
RandomSeed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Diversity = Literal["none", "personas", "views"]  # how answers to a question are made to differ


class Lora(Section):
    """The adapter that learns, where the model itself stays frozen."""

    rank: int = Field(16, ge=1, description="inner width of the adapter")
    alpha: float = Field(32, gt=0, description="the adapter's output is scaled by alpha / rank")
    targets: str | list[str] = Field("all-linear", description="the modules that get one")
    last_layers: int | None = Field(
        None, ge=1, description="only in so many last layers: less memory and time; default: all"
    )


if TYPE_CHECKING:
    MethodName = str
else:  # so that whoever adds a method has nothing to add here
    MethodName = Literal[tuple(METHODS)]

S = TypeVar("S", bound=Section)


class _TrainSettings(Section):
    """Settings of all methods' runs."""

    data: Place = Field("", description="preference dataset: a folder, a file or a hub id")
    out: Place = Field(
        "", description="folder for the trained adapter, its checkpoints and its log"
    )
    method: MethodName = Field("fspo", description="what is trained")
    model: Place = Field("smollm2-135m-instruct", description="the policy to start from")
    adapter: Place | None = Field(None, description="LoRA adapter to start from")
    reference: Literal["start", "model"] = Field(
        "start", description="with an adapter: whether it or the bare model is the reference"
    )
    split: str = Field("train", description="whose users to train on, where users are split")
    holdout_users: float = Field(
        0.0, ge=0, lt=1, description="share of users not to train on, however users are split"
    )
    holdout_prompts: float = Field(0.0, ge=0, lt=1, description="share of prompts not to train on")
    drop_ties: bool = Field(False, description="leave out rows with two equal responses")
    users: int | None = Field(None, ge=1, description="train on so many users at most")
    preferences_per_user: int | None = Field(
        None, ge=1, description="train on so many preferences of each user at most"
    )
    template: TemplateName = CHAIN
    objective: ObjectiveName = "ipo"
    logps: Literal["sum", "mean"] = Field("sum", description="log-probs over a response's tokens")
    beta: float = Field(0.01, gt=0, description="strength of the tie to the reference")
    nll: float = Field(
        0.0, ge=0, description="ipo, dpo: weight of the chosen response's log-loss beside it"
    )
    store_reference: bool = Field(
        False, description="keep the reference's log-probs beside the data, for further runs"
    )
    shots: int = Field(8, ge=0, description="shots before an episode's last target")
    episodes: int = Field(160, ge=1, description="episodes to train on, in all")
    measures: list[str] | None = Field(
        None, min_length=1, description="ric: the rewards; default: words and sentiment"
    )
    paired: bool = Field(
        False, description="users side by side in the data take turns together, on one draw"
    )
    opposed: float = Field(
        0.0, ge=0, le=1, description="share of episodes, most of them early, of users who disagree"
    )
    imputed: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the other episodes whose pairs are what their users would choose; "
        "couples go on with such",
    )
    batch_size: int = Field(2, ge=1, description="episodes in an optimizer step, on each process")
    micro_batch_size: int = Field(1, ge=1, description="episodes in one forward pass")
    micro_batch_tokens: int | None = Field(
        None, ge=16, description="as many episodes in one pass as hold so many tokens, instead"
    )
    max_length: int | None = Field(None, ge=16, description="context in tokens; default: model's")
    lora: Lora | None = Field(Lora(), description="null trains all weights")
    learning_rate: float = Field(1e-3, gt=0, description="for LoRA on a small model")
    warmup_steps: int = Field(5, ge=0)
    scheduler: str = "cosine"
    optimizer: str = "adamw_torch"
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    log_every: int = Field(5, ge=1, description="optimizer steps between lines of the log")
    save_every: int = Field(20, ge=1, description="optimizer steps between checkpoints")
    seed: RandomSeed = 0
    trainer: dict[str, Any] = Field(
        default_factory=dict, description="further transformers.TrainingArguments, as they are"
    )

    def section(self, kind: type[S]) -> S:
        """Returns the settings of this kind, such as a method's own."""
        return next(value for _, value in self if isinstance(value, kind))

    def of_other_methods(self) -> set[str]:
        """Returns the names of the sections that this run does not read."""
        return {name for name, m in METHODS.items() if m.settings and name != self.method}

    @model_validator(mode="after")
    def _fits_together(self) -> _TrainSettings:
        if not self.micro_batch_tokens and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size: {self.micro_batch_size} does not divide batch_size "
                f"{self.batch_size}, so that a step would be of other episodes"
            )
        if self.paired and self.holdout_users:
            raise ValueError(
                "paired: users held out part others from those beside them in the data; split "
                "users in users.parquet, or take `opposed`, which looks for couples"
            )
        return self


if TYPE_CHECKING:

    class TrainRecipe(_TrainSettings):
        """One training run: `fspo train`.

        A method's own settings are in a section by its name, such as `rat`; `section` gives it.
        """

else:
    TrainRecipe = create_model(
        "TrainRecipe",
        __base__=_TrainSettings,
        __module__=__name__,
        __doc__="One training run: `fspo train`.",
        **{name: (m.settings, m.settings()) for name, m in METHODS.items() if m.settings},
    )


class SynthesizeRecipe(Section):
    """Settings of `fspo synthesize reviews`."""

    domain: Place = "reviews"
    model: Place = "smollm2-135m-instruct"
    titles: int = Field(80, ge=8)
    users: int = Field(96, ge=24)
    preferences_per_user: int = Field(24, ge=2)


class ModelRecipe(Section):
    """A language model that writes or labels."""

    kind: Literal["local", "vllm", "openai"] = Field(
        "local",
        description="here, here on a GPU by vLLM, or on an OpenAI-compatible server",
    )
    model: Place = "smollm2-135m-instruct"
    weight: float = Field(1.0, gt=0, description="share of the work in an ensemble")
    temperature: float | None = Field(None, ge=0, description="of what it writes; default: 1")
    batch_size: int = Field(32, ge=1, description="local: answers written at once")
    base_url: str | None = Field(None, description="openai: the server; default: the client's")
    key_from: str = Field("OPENAI_API_KEY", description="openai: environment variable of the key")
    concurrency: int = Field(32, ge=1, description="vllm, openai: requests at once")
    requests_per_minute: float | None = Field(None, gt=0)
    timeout: float = Field(60.0, gt=0, description="vllm, openai: seconds to wait for an answer")
    price_in: float = Field(0.0, ge=0, description="money for a million tokens read")
    price_out: float = Field(0.0, ge=0, description="money for a million tokens written")


class EngineRecipe(Section):
    """Settings of `fspo synthesize --recipe`: how a domain's preferences are made."""

    domain: Place = Field("", description="a domain's name, or a folder with a domain.yaml")
    only: dict[str, list[str]] = Field(
        default_factory=dict, description="trait -> the values in use; default: all"
    )
    users: int = Field(60, ge=6)
    grown_users: float = Field(0.0, ge=0, lt=1, description="share that a model thinks up")
    between: float = Field(0.0, ge=0, le=1, description="share of test users between two values")
    questions: int = Field(60, ge=6, description="more than there are: the model grows them")
    validation: float = Field(0.1, ge=0, lt=0.5, description="share of users and questions")
    test: float = Field(0.2, gt=0, lt=0.5, description="share of users and questions")
    answers_per_question: int = Field(6, ge=2)
    diversity: Diversity | None = Field(
        None, description="how answers are made to differ; default: as the domain says"
    )
    views: int = Field(3, ge=1, description="where answers differ by views: how many of them")
    max_tokens: int = Field(120, ge=8, description="the longest answer")
    writers: list[ModelRecipe] = Field(default_factory=lambda: [ModelRecipe()], min_length=1)
    thinker: ModelRecipe = Field(
        ModelRecipe(), description="grows questions and users, and refines descriptions"
    )
    labeller: ModelRecipe | Literal["measured"] = ModelRecipe()
    margin: float = Field(0.5, ge=0, description="measured: the least difference in utility")
    liked: float | None = Field(
        None, le=0, description="measured: the least utility of an answer that a user chooses"
    )
    opposed: bool = Field(
        False, description="every pair goes to two users who are sure of opposite things"
    )
    guidelines: bool = Field(
        True, description="the thinker writes some for each user, where a model labels"
    )
    refinements: int = Field(0, ge=0, description="pairs that a description is refined on")
    undecided: float = Field(
        0.65, ge=0.5, le=1, description="a label less probable than this does not decide a pair"
    )
    preferences_per_user: int = Field(20, ge=2)
    probes: int = Field(12, ge=2, description="pairs put to every user of a split, to compare them")
    repeats: int = Field(1, ge=1, description="draws of a probe; more if probabilities are unknown")
    disagreement: tuple[float, float] = Field(
        (0.05, 0.6), description="a user who disagrees with the others less or more is remade"
    )
    remakes: int = Field(2, ge=0, description="how often, at most")
    budget: float | None = Field(None, ge=0, description="the most money that may be spent")


R = TypeVar("R", bound=Section)

_FAULTS = 10  # that a message names; a long list of the wrong kind has one for each of its values


def recipe_file(path: Path) -> Path:
    """Returns where a recipe is: the file of that path, or else one of those that come with fspo.

    `recipes/NAME.yaml`, `NAME.yaml` and `NAME` are found from any folder. A path that is neither
    stays as it is.
    """
    if path.is_file() or path.is_absolute() or ".." in path.parts:
        return path
    own = RECIPES.joinpath(*path.parts[path.parts[:1] == ("recipes",) :])
    return next((p for p in (own, Path(f"{own}.yaml")) if p.is_file()), path)


def read_recipe(
    kind: type[R],
    path: Path | None,
    overrides: Mapping[str, Any],
    assignments: Sequence[str] = (),
) -> R:
    """Reads a recipe from YAML and puts what was given on the command line over it.

    Args:
        kind: which recipe it is.
        path: a YAML file, or the name of one of ours (`recipe_file`), or None for the defaults.
        overrides: settings that win over the file's; None means not given.
        assignments: further ones, as `key=value`: see `assign`.

    Raises:
        FspoError: naming the file, the key, and the nearest known one.
    """
    settings: Any = {}
    if path is not None:
        path = recipe_file(path)
        try:
            settings = read_yaml(path) or {}
        except OSError as error:
            reason = error.strerror or error
            raise FspoError(f"{path}: the recipe cannot be read: {reason}") from error
        if not isinstance(settings, dict):
            raise FspoError(f"{path}: a recipe is a list of `key: value` lines")
    settings |= {key: value for key, value in overrides.items() if value is not None}
    for assignment in assignments:
        assign(settings, assignment)
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        told = [_explain(kind, dict(fault)) for fault in faults[:_FAULTS]]
        more = [f"and {len(faults) - _FAULTS} more"] if len(faults) > _FAULTS else []
        raise FspoError(f"{path or 'settings'}: {'; '.join(told + more)}") from error


def is_assignment(argument: str) -> bool:
    """Returns whether an argument is `key=value`, and not a recipe's name or path."""
    return re.match(r"[A-Za-z_][\w.]*=", argument) is not None and not Path(argument).is_file()


def assign(settings: dict[str, Any], assignment: str) -> None:
    """Puts one `key=value` into a recipe's settings.

    Args:
        settings: of a recipe, before they are checked; changed in place.
        assignment: dots in the key lead into sections (`lora.rank=8`); the value is YAML.

    Raises:
        FspoError: if it is not of this form, or leads into what is no section.
    """
    key, equals, text = assignment.partition("=")
    if not equals or not is_assignment(assignment):
        raise FspoError(
            f"{excerpt(assignment)}: settings are given as key=value, such as beta=0.1 or "
            "lora.rank=8"
        )
    value = parse_yaml(text, key)
    *sections, last = key.split(".")
    for section in sections:
        inner = settings.get(section)
        if isinstance(inner, dict) or inner is None:
            settings[section] = dict(inner or {})  # what a file said is not changed for others
        else:
            raise FspoError(f"{key}: {section} is no section here; give it whole: {section}=...")
        settings = settings[section]
    settings[last] = value


def _explain(kind: type[Section], fault: Mapping[str, Any]) -> str:
    where = cut(".".join(str(part) for part in fault["loc"]), 100)
    if fault["type"] != "extra_forbidden":
        message = cut(f"{fault['msg'][0].lower()}{fault['msg'][1:]}")
        return f"{where}: {message} (it is {excerpt(fault['input'])}{_quotes(fault)})"
    section: Any = kind
    for part in fault["loc"][:-1]:  # places in lists and keys of dictionaries are no fields
        if part in section.model_fields:
            section = _section_in(section.model_fields[part].annotation)
    known = list(section.model_fields)
    near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(known)}"
    return f"unknown key {where!r}; {hint}"


def _quotes(fault: Mapping[str, Any]) -> str:
    """Returns what to do about a text without quotes that YAML takes for something else."""
    if fault["type"] != "string_type" or isinstance(fault["input"], list | dict):
        return ""
    if isinstance(fault["input"], bool):
        return ", as YAML reads yes, no, on and off; put it in quotes if it is text"
    return "; put it in quotes if it is text"


def _section_in(annotation: Any) -> type[Section] | None:
    """The section in `list[Section]`, `dict[str, Section]`, `Section | None`, and so on."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    inner = (_section_in(part) for part in getattr(annotation, "__args__", ()))
    return next((section for section in inner if section), None)

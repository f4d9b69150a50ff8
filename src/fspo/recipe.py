"""Recipes: the settings of a run, read from YAML, with unknown keys and wrong values named."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fspo.errors import FspoError, cut, excerpt
from fspo.home import in_home
from fspo.yaml_files import read_yaml

RECIPES = Path(__file__).parent / "recipes"
DEMO_RECIPE = RECIPES / "demo.yaml"

Place = Annotated[str, AfterValidator(in_home)]  # a path, or a name
# What every library takes that draws numbers from it.
RandomSeed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Diversity = Literal["none", "personas", "views"]  # how answers to a question are made to differ


class Section(BaseModel):
    """A group of settings; a key that it does not know is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    renamed: ClassVar[Mapping[str, str]] = {}  # key of an earlier version -> its name now


class Lora(Section):
    """The adapter that learns, where the model itself stays frozen."""

    rank: int = Field(16, ge=1, description="inner width of the adapter")
    alpha: float = Field(32, gt=0, description="the adapter's output is scaled by alpha / rank")
    targets: str | list[str] = Field("all-linear", description="the modules that get one")
    last_layers: int | None = Field(
        None, ge=1, description="only in so many last layers: less memory and time; default: all"
    )


class Vpl(Section):
    """Variational preference learning: a user as a latent vector, and a reward that reads it."""

    latent: int = Field(32, ge=1, description="numbers that a user is summed up in")
    hidden: int = Field(256, ge=1, description="width of encoder and reward")
    kl: float = Field(0.01, ge=0, description="weight of the divergence from the prior")
    annealing: float = Field(
        0.5, ge=0, le=1, description="share of the steps in which that weight rises from 0"
    )
    frozen: bool = Field(
        True, description="read answers with the model as it is; false: its adapter learns, too"
    )
    samples: int = Field(8, ge=1, description="answers to choose the best from")


class Rat(Section):
    """User-description rationalization: how descriptions are learned."""

    warm_up: int = Field(64, ge=1, description="episodes of learning from true descriptions first")
    warm_up_objective: Literal["sft", "ipo", "dpo"] = Field(
        "sft", description="ipo, dpo: the true description is preferred to another user's"
    )
    warm_up_learning_rate: float = Field(1e-3, gt=0)
    warm_up_batch_size: int = Field(2, ge=1, description="episodes in a step of the first stage")
    descriptions: int = Field(
        4, ge=1, description="numbers of shots in an episode that a pair of them stands after"
    )
    samples: int = Field(4, ge=2, description="descriptions sampled of each user, to pair")
    max_tokens: int = Field(64, ge=8, description="the longest description")
    temperature: float = Field(0.7, gt=0, description="of the samples")
    nll: float = Field(
        1.0, ge=0, description="ipo, dpo: weight of the nearer description's log-loss beside it"
    )
    targets: int = Field(2, ge=1, description="pairs of an episode answered behind a description")


class TrainRecipe(Section):
    """One training run: `fspo train`."""

    data: Place = Field("", description="preference dataset: a folder, a file or a hub id")
    out: Place = Field(
        "", description="folder for the trained adapter, its checkpoints and its log"
    )
    method: Literal["fspo", "rat", "ric", "vpl"] = Field("fspo", description="what is trained")
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
    template: Literal["chain", "paper"] = "chain"
    objective: Literal["ipo", "dpo", "sft"] = "ipo"
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
    rat: Rat = Rat()
    vpl: Vpl = Vpl()
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

    @model_validator(mode="after")
    def _fits_together(self) -> TrainRecipe:
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


class SynthesizeRecipe(Section):
    """How a domain's preferences are made: `fspo synthesize`."""

    renamed: ClassVar[Mapping[str, str]] = {"titles": "questions", "model": "writers"}

    domain: Place = Field("", description="a domain's name, or a folder with a domain.yaml")
    population: Literal["personas", "traits"] | None = Field(
        None,
        description="users have the personas that the domain lists, or are drawn from its traits; "
        "default: personas, if it lists any",
    )
    only: dict[str, list[str]] = Field(
        default_factory=dict, description="trait -> the values in use; default: all"
    )
    users: int = Field(60, ge=6)
    grown_users: float = Field(0.0, ge=0, lt=1, description="share that a model thinks up")
    between: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of test users between two values, or of personas that are `test_only`",
    )
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


class PersonalRecipe(Section):
    """How an adapter is fine-tuned on the shots of one user: the method "LoRA per user"."""

    start: Place | None = Field(
        None, description="policy to start from, such as IPO without users; default: a new adapter"
    )
    objective: Literal["ipo", "dpo"] = "dpo"
    beta: float = Field(0.1, gt=0, description="of a new adapter; a policy has its own")
    steps: int = Field(8, ge=1, description="gradient steps, each on all of the shots")
    learning_rate: float = Field(1e-3, gt=0)
    lora: Lora = Field(Lora(), description="the new adapter")
    seed: RandomSeed = Field(0, description="of the new adapter")


class EvaluateRecipe(Section):
    """What is measured on held-out users: `fspo evaluate`."""

    judge: Place | None = Field(
        None, description="the domain whose measures judge, or none; default: one that knows these"
    )
    split: str = Field("test", description="whose users, where users are split")
    holdout_users: float | None = Field(
        None, ge=0, lt=1, description="share of users held out; default: as in training"
    )
    holdout_prompts: float | None = Field(
        None, ge=0, lt=1, description="share of prompts held out; default: as in training"
    )
    drop_ties: bool | None = Field(
        None, description="leave out rows with two equal responses; default: as in training"
    )
    where: dict[str, list[str]] = Field(
        default_factory=dict, description="only users with one of these values of an attribute"
    )
    methods: list[str] = Field(
        default_factory=list, description='further methods: "LoRA per user", "best of N"'
    )
    personal: PersonalRecipe = PersonalRecipe()
    baselines: list[str] | None = Field(
        None, description="simple predictors beside; default: two of them where nothing is judged"
    )
    shots: int = Field(8, ge=1, description="default: 8, or as many as enough users have")
    episodes_per_user: int = Field(2, ge=1, description="draws of shots, for preference accuracy")
    targets: int = Field(2, ge=1, description="pairs that every number of shots is tried on")
    predict: Literal["all", "policies", "none"] = Field(
        "all", description="which methods are asked what users prefer"
    )
    mirrored: bool = Field(
        False, description="what policies tell is also read off with every shot turned round"
    )
    stacked: bool = Field(
        False, description="the baselines are also taken together, and with each policy"
    )
    prompts_per_user: int = Field(6, ge=1, description="for win rate")
    users: int = Field(60, ge=2, description="at most so many users")
    max_new_tokens: int = Field(128, ge=1)
    temperature: float = Field(0.7, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)


class DemoRecipe(Section):
    """The demo: the three above, one after the other, from one seed."""

    synthesize: SynthesizeRecipe = SynthesizeRecipe(domain="reviews")
    warm_up: TrainRecipe | None = None
    train: TrainRecipe = TrainRecipe()
    evaluate: EvaluateRecipe = EvaluateRecipe()


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


def read_recipe(kind: type[R], path: Path | None, overrides: Mapping[str, Any]) -> R:
    """Reads a recipe from YAML and puts what was given on the command line over it.

    Args:
        kind: which recipe it is.
        path: a YAML file, or the name of one of ours (`recipe_file`), or None for the defaults.
        overrides: settings that win over the file's; None means not given.

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
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        told = [_explain(kind, dict(fault)) for fault in faults[:_FAULTS]]
        more = [f"and {len(faults) - _FAULTS} more"] if len(faults) > _FAULTS else []
        raise FspoError(f"{path or 'settings'}: {'; '.join(told + more)}") from error


def _explain(kind: type[Section], fault: Mapping[str, Any]) -> str:
    where = cut(".".join(str(part) for part in fault["loc"]), 100)
    if fault["type"] != "extra_forbidden":
        message = cut(f"{fault['msg'][0].lower()}{fault['msg'][1:]}")
        return f"{where}: {message} (it is {excerpt(fault['input'])}{_quotes(fault)})"
    section: Any = kind
    for part in fault["loc"][:-1]:  # places in lists and keys of dictionaries are no fields
        if part in section.model_fields:
            section = _section_in(section.model_fields[part].annotation)
    if now := section.renamed.get(str(fault["loc"][-1])):
        return f"unknown key {where!r}; it is called {now!r} now"
    known = list(section.model_fields)
    near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(known)}"
    return f"unknown key {where!r}; {hint}"


def _quotes(fault: Mapping[str, Any]) -> str:
    """What to do about a text without quotes that YAML takes for something else."""
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

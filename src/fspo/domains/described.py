"""A domain that is described rather than programmed: a folder with a YAML file and questions.

    domain.yaml        what is asked for, and how users differ
    questions/*.txt    seed questions: a topic in each file, a question on each line
    domain.py          if need be: functions of a text that give a number, as further measures

Loading a domain runs its `domain.py`, with all that the user may do. So a folder is loaded only if
the user named it; one that another's file names is not, without --trust-domain (`code_of`).

A name is looked for among the project's own domains, then among installed packages' (entry points
of the group `fspo.domains`, each the path of a folder or a function that returns it); anything
else is the path of a folder.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from types import FunctionType
from typing import Any

from pydantic import Field, field_validator, model_validator

from fspo.domains import domain_names
from fspo.domains.measures import MEASURES
from fspo.errors import FspoError
from fspo.recipe import Diversity, Section, read_recipe
from fspo.text_files import read_lines


class Example(Section):
    """A question and an answer that suits whoever has a value."""

    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)


class Value(Section):
    """One value of a trait: a phrase that completes the trait's sentence."""

    value: str = Field(min_length=1)
    weight: float = Field(1.0, gt=0)
    wants: dict[str, float] = Field(
        default_factory=dict, description="what an answer should measure, for this value"
    )
    examples: list[Example] = Field(
        default_factory=list, description="shown to whoever writes for somebody with this value"
    )


class Trait(Section):
    """One way in which users differ.

    Attributes:
        sentence: says it of a user; `{}` is where the value goes.
        source: where the values and their weights come from.
        chance: how many users' descriptions say it at all.
        ordered: neighbors are alike, so that a user can stand between two of them.
    """

    name: str
    sentence: str
    source: str
    values: list[Value] = Field(min_length=1)
    chance: float = Field(1.0, gt=0, le=1)
    ordered: bool = False

    @field_validator("sentence")
    @classmethod
    def _has_a_place(cls, sentence: str) -> str:
        if sentence.count("{}") != 1:
            raise ValueError("a sentence has one {} for the value")
        return sentence


class Measure(Section):
    """Something measured in an answer, and how much of it makes a difference to a user."""

    scale: float = Field(gt=0, description="a difference of so much is worth 1")


class Described(Section):
    """The contents of `domain.yaml`.

    Attributes:
        name: the domain's name.
        title: in words, for cards and reports.
        answer: what is asked of a writer, beside the question.
        diversity: how answers are made to differ: each for a persona, each from a view, or
            only by chance.
        guidelines: what a labeller keeps in mind for every user.
        measures: what the measured labeller looks at; none, if a model has to label.
        traits: how users differ.
        questions_folder: where the files of seed questions are.
        asks: topic -> the question that a line of its file stands for, with {} in its place.
        questions: topic -> seed questions; read from these files.
        functions: measure -> what measures a text: ours, and those of `domain.py`.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    title: str
    answer: str
    diversity: Diversity = "personas"
    guidelines: str = ""
    measures: dict[str, Measure] = Field(default_factory=dict)
    traits: list[Trait] = Field(min_length=1)
    questions_folder: str = "questions"
    asks: dict[str, str] = Field(default_factory=dict)
    questions: dict[str, list[str]] = Field(default_factory=dict, exclude=True)
    functions: dict[str, Callable[[str], float]] = Field(default=MEASURES, exclude=True)

    @model_validator(mode="after")
    def _knows_its_measures(self) -> Described:
        wanted = {m for t in self.traits for v in t.values for m in v.wants}
        for name in [*self.measures, *wanted]:
            if name not in self.functions:
                raise ValueError(f"unknown measure {name!r}; there are {', '.join(self.functions)}")
        if missing := wanted - set(self.measures):
            raise ValueError(f"values want {min(missing)!r}, which `measures` does not list")
        return self


def load_described(name: str, diversity: Diversity | None = None) -> Described:
    """The domain of that name, or in the folder of that name.

    Args:
        name: the domain's name, or its folder.
        diversity: how answers are made to differ, if not as the domain says.

    Raises:
        FspoError: naming the file and the key at fault, or the nearest known domain.
    """
    folder = _folder(name)
    functions = MEASURES | _functions(folder / "domain.py")
    domain = read_recipe(Described, folder / "domain.yaml", {"functions": functions})
    texts = folder / domain.questions_folder
    questions = {
        path.stem: [
            domain.asks.get(path.stem, "{}").replace("{}", line.strip())
            for line in read_lines(path)
        ]
        for path in sorted(texts.glob("*.txt"))
    }
    if not any(questions.values()):
        raise FspoError(
            f"{texts}: holds no questions; write some to a .txt file there, one on each line"
        )
    own = {"diversity": diversity} if diversity else {}
    return domain.model_copy(update={"questions": questions} | own)


def code_of(name: str) -> Path | None:
    """Returns the Python file that loading a folder as a domain would run.

    None if there is none, or if the name is that of a domain of ours or of an installed package.

    Raises:
        FspoError: if there is no such domain.
    """
    if name in domain_names() or name in described_names():
        return None
    code = _folder(name) / "domain.py"
    return code if code.is_file() else None


def described_names() -> list[str]:
    """The domains that are known by name."""
    own = {path.parent.name for path in Path(__file__).parent.glob("*/domain.yaml")}
    return sorted(own | {point.name for point in entry_points(group="fspo.domains")})


def _folder(name: str) -> Path:
    own = Path(__file__).parent / name
    if "/" not in name and (own / "domain.yaml").is_file():
        return own
    for point in entry_points(group="fspo.domains"):
        if point.name == name:
            found = point.load()
            return Path(found() if callable(found) else found)
    if (Path(name) / "domain.yaml").is_file():
        return Path(name)
    if Path(name).is_dir():
        raise FspoError(f"{name}: a domain's folder has a file domain.yaml, and this one has none")
    names = described_names()
    near = get_close_matches(name, names, n=1, cutoff=0.0)
    raise FspoError(
        f"there is no domain {name!r}; did you mean {near[0]!r}? "
        f"There are {', '.join(names)}, or give a folder with a domain.yaml."
    )


def _functions(path: Path) -> dict[str, Callable[[str], float]]:
    """The public functions that a file of Python defines; none if there is no file.

    Raises:
        FspoError: if it cannot be run.
    """
    if not path.is_file():
        return {}
    found: dict[str, Any] = {}
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), found)
    except Exception as error:  # whatever somebody's code raises
        raise FspoError(f"{path}: {type(error).__name__}: {error}") from error
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, FunctionType)
        and value.__code__.co_filename == str(path)
        and not name.startswith("_")
    }

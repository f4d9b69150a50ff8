"""The form of `results.json` and `training_log.json`, checked when they are read."""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field


def _known(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return interval if interval and all(map(math.isfinite, interval)) else None


# Results may hold null or NaN where something could not be measured: nan and None from here on.
Measured = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
Interval = Annotated[tuple[float, float] | None, AfterValidator(_known)]


class WinRate(BaseModel):
    """The share of comparisons with the base model's answers that a method's win, in percent."""

    winrate: Measured
    ci95: Interval = None
    n: int | None = None


class Method(WinRate):
    """The figures of one method: `mean_length` in words, `repetition` in percent."""

    ci95: Interval
    n: int
    mean_length: Measured
    repetition: Measured = Field(default=math.nan)
    length_controlled: Measured = Field(default=math.nan)
    by_group: dict[str, WinRate] = {}


class Difference(BaseModel):
    """The first policy's win rate less a method's, in points, on the same prompts."""

    difference: Measured
    ci95: Interval = None


class Gain(BaseModel):
    """The accuracy less that without shots, on the same pairs."""

    mean: Measured
    ci95: Interval = None


class Accuracy(BaseModel):
    """The share of pairs that a method ranks as their user does, from 0 to 1, by shots seen."""

    by_shots: dict[int, Measured]
    n: int
    ci95: dict[int, Interval] = {}
    by_group: dict[str, dict[int, Measured]] = {}
    gain: dict[int, Gain] = {}


class Described(BaseModel):
    """The nearness of a method's descriptions of users to the true ones: cosines, their means."""

    mean: Measured
    before: Measured = Field(default=math.nan)
    chance: Measured = Field(default=math.nan)


class Warning(BaseModel):
    """A group of users that the method the report is about serves worse than everyone else."""

    attribute: str
    value: str
    users: int
    winrate: Measured
    others: Measured


class Users(BaseModel):
    """The numbers of users that the model learned from and was tried on."""

    train: int
    test: int


class Shot(BaseModel):
    """One choice of the example's user."""

    prompt: str = ""
    chosen: str
    rejected: str


class Answer(BaseModel):
    """One method's answer in the example, and what the judge makes of it."""

    text: str
    words: int | None = None
    sentiment: float | None = None
    utility: float | None = None

    @property
    def facts(self) -> list[str]:
        """Returns what was measured of the answer, in words."""
        return [
            *([f"{self.words} words"] if self.words is not None else []),
            *([f"sentiment {self.sentiment:+.2f}"] if self.sentiment is not None else []),
            *([f"judge's score {self.utility:.2f}"] if self.utility is not None else []),
        ]


class Question(BaseModel):
    """A prompt of the example with each method's answer."""

    prompt: str
    answers: dict[str, Answer]

    def liked_best(self, method: str) -> bool:
        """Returns whether the user would like no other answer better; never if all are alike."""
        known = [a.utility for a in self.answers.values() if a.utility is not None]
        return len(set(known)) > 1 and self.answers[method].utility == max(known)


class Example(BaseModel):
    """One new user: the shots, the hidden description, and what the methods answer."""

    user_id: str = ""
    description: str = ""
    shots: list[Shot] = []
    prompts: list[Question] = []


class Judging(BaseModel):
    """The cost of verdicts; `refused` counts those that a server would not give, by its reasons."""

    refused: dict[str, int] = {}


class Results(BaseModel):
    """The contents of `results.json`; keys that are not named here are ignored."""

    judge: str
    methods: dict[str, Method]
    preference_accuracy: Accuracy
    predictions: dict[str, Accuracy] = {}
    differences: dict[str, Difference] = {}
    descriptions: dict[str, Described] = {}
    warnings: list[Warning] = []
    judging: Judging = Judging()
    users: Users
    new: Literal["users", "prompts", "neither"] = "users"
    model: str
    intervals: str = ""
    seed: int
    versions: dict[str, str]
    seconds: dict[str, float] | float
    example: Example | None = None
    title: str = ""


class LogRow(BaseModel):
    """One step of training; whatever was not logged is nan."""

    step: int | None = None
    stage: str = ""
    loss: Measured = Field(default=math.nan)
    margin: Measured = Field(default=math.nan)
    accuracy: Measured = Field(default=math.nan)

"""The definition of a study: one YAML file, read into strict sections whose faults name the field.

Everything that participants read stands in their language's section; numbers, methods and rules,
which are the same in all languages, stand outside. `reading.py` reads the file.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from fspo.recipe import Place, Section
from fspo.study.wording import check_words, words_in

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.+-]{0,63}$")]
Stage = Literal["label", "judge"]


class Pair(Section):
    """A question with two answers, which are put left and right at random."""

    question: Text
    answers: tuple[Text, Text]


class Check(Section):
    """An attention check: an item among the others with a known right answer."""

    stage: Stage
    question: Text
    right: Text
    wrong: Text


class Ask(Section):
    """A question at the end; whoever likes to leaves it out."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    question: Text
    choices: dict[Name, Text] = Field(
        default_factory=dict, description="what is kept -> what is shown; none: free text"
    )


class Language(Section):
    """The texts that participants read, in one language."""

    title: Text
    consent: Text
    instructions: Text
    judging: Text = Field(description="read before the blind questions")
    thanks: Text
    practice: list[Pair] = Field(default_factory=list, description="not kept for training")
    pairs: list[Pair] = Field(default_factory=list, description="to label; or `pairs_from`")
    pairs_from: Place = Field("", description="a preference dataset whose pairs are to label")
    questions: list[Text] = Field(default_factory=list, description="or `questions_from`")
    questions_from: Place = Field("", description="a text file, one question a line")
    checks: list[Check] = Field(default_factory=list)
    asks: list[Ask] = Field(default_factory=list, description="free text, demographics")
    words: dict[str, Text] = Field(default_factory=dict, description="buttons and notes")

    @field_validator("words")
    @classmethod
    def _known(cls, words: dict[str, str]) -> dict[str, str]:
        check_words(words)
        return words


class Method(Section):
    """One way to answer: by whom, and knowing what of the participant."""

    answers: Literal["plain", "personal"] = Field(
        description="plain: the model knows nobody; personal: it reads the participant's choices"
    )
    policy: Place = Field(
        "smollm2-135m-instruct",
        description="a folder of `fspo train`, or a model's name: personal, it is prompted",
    )
    server: str = Field("", description="an OpenAI-compatible server that has the model")
    key_from: str = Field("OPENAI_API_KEY", description="environment variable of its key")


class Answers(Section):
    """Settings of how all methods' answers are drawn."""

    max_tokens: int = Field(256, ge=1)
    temperature: float = Field(0.7, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)


class Limits(Section):
    """Time for one item, in seconds."""

    min_seconds: float = Field(2, ge=0, description="a sooner choice is not taken")
    max_seconds: float = Field(600, gt=0, description="a later one is marked late")

    @model_validator(mode="after")
    def _in_order(self) -> Limits:
        if self.min_seconds >= self.max_seconds:
            raise ValueError("min_seconds has to be below max_seconds")
        return self


class Exclude(Section):
    """Rules on whose answers the results leave out: set before the study, not after it."""

    failed_checks: int = Field(0, ge=0, description="participants who failed more than these")
    unfinished: bool = Field(True, description="participants who did not judge all questions")
    late: bool = Field(True, description="single answers beyond max_seconds")


class Completion(Section):
    """The proof of having taken part."""

    code: Name = "DONE"
    redirect: str = Field("", description="a link back to the recruitment platform")
    seconds: int = Field(
        10, ge=0, description="until the last page goes there by itself; 0: only at a click"
    )

    @field_validator("redirect")
    @classmethod
    def _https(cls, link: str) -> str:
        if link and not link.startswith("https://"):
            raise ValueError("has to begin with https://")
        return link


class Study(Section):
    """A study: `fspo study`."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    seed: int = Field(0, ge=0, description="assignment and sampling depend on it")
    contact: Text
    languages: dict[Annotated[str, StringConstraints(pattern="^[a-z]{2,3}(-[A-Za-z0-9]+)*$")],
                    Language] = Field(min_length=1)  # fmt: skip
    label_pairs: int = Field(8, ge=1)
    judge_questions: int = Field(11, ge=1)
    methods: dict[Name, Method] = Field(min_length=2)
    comparisons: list[tuple[Name, Name]] = Field(min_length=1, description="[ours, the other]")
    answers: Answers = Answers()
    limits: Limits = Limits()
    exclude: Exclude = Exclude()
    completion: Completion = Completion()

    def wording(self, language: str) -> dict[str, str]:
        """Buttons and notes in one of the study's languages."""
        return words_in(language, self.languages[language].words)

    def rules(self) -> dict[str, Any]:
        """Returns what results depend on: everything but wording, contact and completion."""
        kept = self.model_dump(mode="json", exclude={"contact", "completion", "languages"})
        kept["languages"] = {
            code: language.model_dump(
                mode="json", include={"pairs", "pairs_from", "questions", "questions_from",
                                      "checks"},
            )
            for code, language in self.languages.items()
        }  # fmt: skip
        return kept

    def fingerprint(self) -> str:
        """The same for two definitions whose answers may be put into one result."""
        text = json.dumps(self.rules(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def exclusion_rules(self) -> str:
        """The exclusion rules in words."""
        rules = [f"participants who failed more than {self.exclude.failed_checks} attention checks"]
        if self.exclude.unfinished:
            rules.append("participants who did not judge every question")
        if self.exclude.late:
            rules.append(f"answers that took more than {self.limits.max_seconds:g} s")
        return "; ".join(rules)

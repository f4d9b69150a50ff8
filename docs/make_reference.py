"""Writes docs/reference/ from the code: commands, recipe keys and the Python API.

    python docs/make_reference.py

`tests/docs/test_reference.py` fails where these pages differ from the code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import fspo
from fspo.cli import app
from fspo.demo import DemoRecipe
from fspo.evaluation.recipe import EvaluateRecipe
from fspo.judging.build import JudgeRecipe
from fspo.methods.rat import RatSettings
from fspo.methods.vpl import VplSettings
from fspo.paper_recipe import PaperColumn, PaperPart, PaperRecipe
from fspo.recipe import EngineRecipe, Lora, ModelRecipe, Section, SynthesizeRecipe, TrainRecipe

REFERENCE = Path(__file__).parent / "reference"
_MADE = "<!-- Made by docs/make_reference.py; change the code instead. -->\n\n"

RECIPES: dict[str, list[type[Section]]] = {
    "fspo train": [TrainRecipe, Lora, RatSettings, VplSettings],
    "fspo synthesize": [EngineRecipe, ModelRecipe, SynthesizeRecipe],
    "fspo evaluate": [EvaluateRecipe],
    "--judge FILE": [JudgeRecipe],
    "fspo demo": [DemoRecipe],
    "fspo paper": [PaperRecipe, PaperPart, PaperColumn],
}


def pages() -> dict[str, str]:
    """Returns the text of each page by its file name."""
    made = {"commands.md": commands(), "recipes.md": recipes(), "python.md": python()}
    return {name: _MADE + "\n".join(lines) + "\n" for name, lines in made.items()}


def commands() -> list[str]:
    """Returns the page of all commands, with their arguments and options."""
    lines = ["# Commands", "", "Every command has `--help`.", ""]
    for path, command in _leaves(typer.main.get_command(app), "fspo"):
        lines += [f"## {path}", "", _cell(command.help or ""), ""]
        arguments = " ".join(_name(p) for p in command.params if _is_argument(p))
        lines += [f"    {path} {arguments}".rstrip(), ""]
        rows = [_parameter(p) for p in command.params if not getattr(p, "hidden", False)]
        lines += ["| option | default | meaning |", "| --- | --- | --- |", *rows, ""]
    return lines


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yields each command that does something, below a group, in the order of `--help`."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from _leaves(child, f"{path} {name}")


def _parameter(parameter: Any) -> str:
    default = parameter.default
    unset = default is None or default is False or default == "" or callable(default)
    shown = "required" if parameter.required else "" if unset else f"`{default}`"
    return f"| `{_name(parameter)}` | {shown} | {_cell(getattr(parameter, 'help', None) or '')} |"


def _name(parameter: Any) -> str:
    if not _is_argument(parameter):
        return ", ".join(parameter.opts)
    name = (parameter.metavar or parameter.name).upper()
    return str(name if parameter.required else f"[{name}]")


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def recipes() -> list[str]:
    """Returns the page of all keys of all recipes."""
    lines = ["# Recipes", "", "A recipe is a YAML file of these keys. Unknown keys are errors.", ""]
    for command, sections in RECIPES.items():
        lines += [f"## {command}", ""]
        for section in sections:
            lines += [f"### {section.__name__}", "", _cell(_first(section.__doc__)), ""]
            lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
            lines += [_field(name, field) for name, field in section.model_fields.items()] + [""]
    return lines


def _field(name: str, field: FieldInfo) -> str:
    default: Any = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        shown = "required"
    elif isinstance(default, Section):
        shown = f"see {type(default).__name__}"
    else:
        shown = "" if default in ("", {}, []) else f"`{_yaml(default)}`"
    kind = inspect.formatannotation(field.annotation)
    kind = re.sub(r"(fspo|pydantic|typing|annotated_types)(\.\w+)*\.", "", kind)
    kind = re.sub(r"Annotated\[(\w+), [^\]]*\]", r"\1", kind)
    kind = re.sub(r"Optional\[(.+)\]", r"\1 | None", kind)
    bounds = [str(b) for b in field.metadata if type(b).__name__ in ("Ge", "Gt", "Le", "Lt")]
    limits = ", ".join(_bound(bound) for bound in bounds)
    kind = f"`{kind}`" + (f", {limits}" if limits else "")
    return f"| `{name}` | {_cell(kind)} | {_cell(shown)} | {_cell(field.description or '')} |"


def _bound(text: str) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return re.sub(r"\w+\((\w+)=(.*)\)", lambda match: f"{signs[match[1]]} {match[2]}", text)


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def python() -> list[str]:
    """Returns the page of all names of the package's public face."""
    lines = ["# Python", "", "Everything here is a name of `fspo`.", ""]
    for name in fspo.__all__:
        thing = getattr(fspo, name)
        kind = "class " if inspect.isclass(thing) else ""
        lines += [f"## {name}", "", "```python", f"{kind}fspo.{_signature(name, thing)}", "```", ""]
        lines += _docstring(thing)
        if inspect.isclass(thing) and not issubclass(thing, Exception):
            for method, function in vars(thing).items():
                if not method.startswith("_") and _is_documented(function):
                    lines += _method(name, method, function)
    return lines


def _is_documented(thing: Any) -> bool:
    return isinstance(thing, staticmethod | classmethod | property) or inspect.isfunction(thing)


def _method(owner: str, name: str, function: Any) -> list[str]:
    if isinstance(function, property):
        return [f"### {owner}.{name}", "", *_docstring(function)]
    inner = getattr(function, "__func__", function)
    code = ["```python", _signature(f"{owner}.{name}", inner), "```"]
    return [f"### {owner}.{name}", "", *code, "", *_docstring(inner)]


def _signature(name: str, thing: Any) -> str:
    try:
        signature = str(inspect.signature(thing))
    except (TypeError, ValueError):
        return name
    return name + signature.replace("'", "").replace("<factory>", "...")


def _docstring(thing: Any) -> list[str]:
    """Returns a Google-style docstring as Markdown: each section's entries as a list."""
    lines: list[str] = []
    for line in (inspect.getdoc(thing) or "").splitlines():
        section = re.fullmatch(r"(Args|Returns|Raises|Yields|Attributes):", line)
        entry = re.match(r" {4}(\w+): (.*)", line)
        if section:
            lines += [f"**{section[1]}**", ""]
        elif entry:
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif line.startswith("        ") and lines and lines[-1].startswith("- "):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line.removeprefix("    "))
    return [*lines, ""]


def _first(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for file, text in pages().items():
        (REFERENCE / file).write_text(text, encoding="utf-8")

"""Lists the recipes that come with fspo: `fspo recipes`."""

from __future__ import annotations

from pathlib import Path

from fspo.errors import FspoError
from fspo.recipe import DEMO_RECIPE, RECIPES, recipe_file

# What takes the recipes of a folder.
_TAKES = {
    "judges": "fspo evaluate --judge NAME",
    "launch": "accelerate launch --config_file FILE, and FILE is `fspo recipes NAME --path`",
    "paper": "fspo train NAME",
    "tables": "fspo paper NAME",
}


def list_recipes() -> dict[str, dict[str, str]]:
    """Returns for each command the names of its recipes, and what each is, in a line."""
    listed: dict[str, dict[str, str]] = {}
    for path in sorted(RECIPES.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        listed.setdefault(_command(path, text), {})[_name(path)] = description(text)
    return listed


def description(text: str) -> str:
    """Returns the first line of a recipe, a comment that says what it is."""
    return text.partition("\n")[0].removeprefix("# ")


def find_recipe(name: str) -> Path:
    """Returns the file of one of our recipes, by a name that `list_recipes` gives.

    Raises:
        FspoError: if there is none of that name.
    """
    folders = [path.relative_to(RECIPES) for path in RECIPES.iterdir() if path.is_dir()]
    for place in (Path(name), *(folder / name for folder in sorted(folders))):
        found = recipe_file(place)
        if found.is_relative_to(RECIPES) and found.is_file():
            return found
    raise FspoError(f"there is no recipe {name!r}; `fspo recipes` lists them")


def render(listed: dict[str, dict[str, str]]) -> str:
    """Returns the list as text to read."""
    width = max(len(name) for names in listed.values() for name in names)
    parts = []
    for command, names in listed.items():
        rows = "\n".join(f"  {name:{width}}  {text}" for name, text in names.items())
        parts.append(f"{command}\n{rows}")
    return "\n\n".join(parts)


def _command(path: Path, text: str) -> str:
    folder = path.parent.name
    if folder in _TAKES:
        return _TAKES[folder]
    if path == DEMO_RECIPE:
        return "fspo demo --recipe NAME"
    return "fspo train NAME" if "\nmethod: " in text else "fspo synthesize DOMAIN --recipe NAME"


def _name(path: Path) -> str:
    """Returns the name by which the command finds the recipe."""
    folder = path.parent.name
    if folder == "tables":
        return path.stem
    if folder == "judges":
        return path.name
    return path.relative_to(RECIPES).with_suffix("").as_posix()

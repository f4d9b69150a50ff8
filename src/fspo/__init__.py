"""fspo: a language model that learns from a few choices how a person likes to be answered.

The names below are loaded when they are first used, so that `import fspo` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from fspo.errors import FspoError
    from fspo.learning.scoring import completion_logps
    from fspo.learning.tree import EpisodeTree
    from fspo.models import load_model
    from fspo.personal_policy import PersonalPolicy, load_policy
    from fspo.preferences.reading import load_preferences
    from fspo.preferences.records import Episode, Preference, Preferences, User
    from fspo.runs import evaluate, synthesize, train

_HOME = {
    "Episode": "fspo.preferences.records",
    "EpisodeTree": "fspo.learning.tree",
    "FspoError": "fspo.errors",
    "PersonalPolicy": "fspo.personal_policy",
    "Preference": "fspo.preferences.records",
    "Preferences": "fspo.preferences.records",
    "User": "fspo.preferences.records",
    "completion_logps": "fspo.learning.scoring",
    "evaluate": "fspo.runs",
    "load_model": "fspo.models",
    "load_policy": "fspo.personal_policy",
    "load_preferences": "fspo.preferences.reading",
    "synthesize": "fspo.runs",
    "train": "fspo.runs",
}

__all__ = [
    "Episode",
    "EpisodeTree",
    "FspoError",
    "PersonalPolicy",
    "Preference",
    "Preferences",
    "User",
    "completion_logps",
    "evaluate",
    "load_model",
    "load_policy",
    "load_preferences",
    "synthesize",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fspo' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)

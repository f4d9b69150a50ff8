"""Reviews of movies, TV shows, anime and books, for users who differ in sentiment and length."""

from fspo.domains.reviews.measures import measure, utility
from fspo.domains.reviews.personas import PERSONAS, conversation, fits
from fspo.domains.reviews.titles import prompt, titles
from fspo.domains.reviews.users import describe, knows, users

NAME = "reviews"

__all__ = [
    "NAME",
    "PERSONAS",
    "conversation",
    "describe",
    "fits",
    "knows",
    "measure",
    "prompt",
    "titles",
    "users",
    "utility",
]

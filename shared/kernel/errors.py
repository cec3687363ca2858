"""Errors of both services: a broken rule (ADR 0017) and a wrong configuration."""

import inspect


class RuleBroken(Exception):
    """A rule was broken.

    The first paragraph of a subclass's docstring is the English sentence that callers read.
    """


class ConfigurationError(Exception):
    """A setting or a file of the operator is wrong. The text says where, what is wrong, and what to do."""


def english_sentence(kind: type[Exception]) -> str:
    """Return the first paragraph of an exception class's docstring, on one line."""
    text = inspect.getdoc(kind) or kind.__name__
    return " ".join(text.split("\n\n", 1)[0].split())

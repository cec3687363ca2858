"""The base of all refusals: one exception class per broken rule (ADR 0017)."""

import inspect


class RuleBroken(Exception):
    """A rule was broken.

    The first paragraph of a subclass's docstring is the English sentence that callers read.
    """


def english_sentence(kind: type[Exception]) -> str:
    """Return the first paragraph of an exception class's docstring, on one line."""
    text = inspect.getdoc(kind) or kind.__name__
    return " ".join(text.split("\n\n", 1)[0].split())

"""Text from outside, made safe for storing and for a terminal. The one place that decides how."""

LONGEST_SUMMARY = 500
"""Characters."""


def visible(text: str) -> str:
    r"""Return text on one line, with every character that cannot be seen as an escape such as `\x1b`."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def require_visible(text: str) -> str:
    """Return an identifier unchanged. Raises ValueError for one with characters that cannot be seen."""
    if not text.isprintable():
        raise ValueError("it holds characters that cannot be seen")
    return text


def summary(text: str) -> str:
    """Return text for a log, a table of operators or a terminal: one line, storable, not too long."""
    return visible(" ".join(text.split()))[:LONGEST_SUMMARY]

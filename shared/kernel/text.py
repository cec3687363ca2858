"""Text from outside, made safe for storing and for a terminal. The one place that decides how."""

LONGEST_SUMMARY = 500
LONGEST_IDENTIFIER = 255
"""Characters. The `sub` of a token is no longer (OpenID Connect Core 1.0, section 2)."""


def visible(text: str) -> str:
    r"""Return text on one line, with every character that cannot be seen as an escape such as `\x1b`."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def is_identifier(text: str) -> bool:
    """Return whether text can be an id or a code: 1 to LONGEST_IDENTIFIER characters that can all be seen."""
    return 0 < len(text) <= LONGEST_IDENTIFIER and text.isprintable()


def require_identifier(text: str) -> str:
    """Return an id or a code unchanged. Raises ValueError when it cannot be one."""
    if not is_identifier(text):
        raise ValueError(f"an id has 1 to {LONGEST_IDENTIFIER} characters that can all be seen")
    return text


def summary(text: str) -> str:
    """Return text for a log, a table of operators or a terminal: one line, storable, not too long."""
    return visible(" ".join(text.split()))[:LONGEST_SUMMARY]

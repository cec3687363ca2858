"""The grammar of new login accounts (R17): the API, the counter and identity check the same."""

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.kernel.login_account import Email, new_username


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        (" jan.jansen ", "jan.jansen"),
        ("zoe\u0308", "zoë"),
        ("j", "j"),
        ("jan@example.org", "jan@example.org"),
        ("d'artagnan-2_x", "d'artagnan-2_x"),
        ("ольга", "ольга"),
        ("हिन्दी", "हिन्दी"),
        ("x" * 200, "x" * 200),
    ],
)
def test_r17_a_username_has_letters_and_digits_of_any_script(typed: str, stored: str) -> None:
    assert new_username(typed) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "  ",
        '<b>x</b> "q"',
        "jan jansen",
        "jan\tjansen",
        ".jan",
        "jan-",
        "jan;",
        "jan/..",
        "😀",
        "x" * 201,
    ],
)
def test_r17_anything_else_is_no_username(typed: str) -> None:
    with pytest.raises(ValueError, match="must"):
        new_username(typed)


@pytest.mark.parametrize(
    "address", ["a@b.nl", "jan+gast@x-y.example.org", "o'neil@bibliotheek.frl", "a@xn--e.nl"]
)
def test_r17_an_email_address_has_a_name_and_a_host(address: str) -> None:
    assert TypeAdapter(Email).validate_python(address) == address


@pytest.mark.parametrize(
    "address",
    ["a@b", '<b>x</b> "q"', "a b@c.nl", "a@@b.nl", ".a@b.nl", "a..b@c.nl", "a@-b.nl", "a@b.n", "a@b.1",
     "@b.nl", "a@b.nl\n", f"{'x' * 250}@b.nl"],
)  # fmt: skip
def test_r17_anything_else_is_no_email_address(address: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Email).validate_python(address)

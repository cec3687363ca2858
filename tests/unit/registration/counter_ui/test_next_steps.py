"""What a clerk reads to do next: a page without the form does not speak of a button."""

from registration.counter_ui.i18n import OTHERWISE, PRESS_AGAIN, next_step


def dutch(text: str, _english: str) -> str:
    return text


def test_beside_the_form_the_same_button_is_pressed_again() -> None:
    assert next_step("database-unavailable", dutch, beside_form=True) == PRESS_AGAIN[0]


def test_a_page_without_the_form_sends_the_clerk_back() -> None:
    assert next_step("database-unavailable", dutch, beside_form=False) == OTHERWISE[0]
    assert next_step("guest-not-found", dutch, beside_form=False).startswith("Zoek de gastlener")

"""What a clerk can do after a refusal, in words that go with the sentence."""

from collections.abc import Callable

NEXT_STEPS: dict[str, tuple[str, str]] = {
    "guest-not-found": (
        "Zoek de gastlener op pas, naam of geboortedatum.",
        "Look for the guest by card, name or date of birth.",
    ),
    "form-not-ours": (
        "Ga naar de vorige pagina, laad die opnieuw en vul het formulier nog eens in.",
        "Go back to the page before, reload it and fill in the form again.",
    ),
    "wrong-scope": ("Meld u af en met een ander account weer aan.", "Sign out, and in with another account."),
    "internal-error": (
        "Probeer het opnieuw. Blijft het misgaan, meld dan het kenmerk hieronder aan beheer.",
        "Try again. If it goes on, report the reference below to your administrator.",
    ),
    "not-held": ("Ga terug naar beheer.", "Go back to the operators' page."),
    "only-waiting": (
        "Wacht, of kies op de beheerpagina Opnieuw proberen.",
        "Wait, or choose Try again on the operators' page.",
    ),
    "rebuild-running": ("Wacht tot dat klaar is.", "Wait until that is done."),
    "no-such-page": ("Ga naar de balie en zoek vandaar verder.", "Go to the counter, and look from there."),
    "sign-in-failed": ("Probeer opnieuw aan te melden.", "Try to sign in again."),
}
OTHERWISE = ("Ga terug en probeer het opnieuw.", "Go back and try again.")


def next_step(code: str, say: Callable[[str, str], str]) -> str:
    """What to do after the problem with this code."""
    return say(*NEXT_STEPS.get(code, OTHERWISE))

"""What a clerk can do after a refusal, in words that go with the sentence."""

from collections.abc import Callable

NEXT_STEPS: dict[str, tuple[str, str]] = {
    "guest-refused": (
        "De klant moet contact opnemen met de eigen bibliotheek.",
        "The patron has to contact their own library.",
    ),
    "chained-guest": (
        "Vraag naar de pas van de bibliotheek waar de klant zelf lid is.",
        "Ask for the card of the library where the patron is a member.",
    ),
    "own-library": (
        "Een eigen lid kan geen gastlener worden: help de klant als reguliere klant.",
        "A member of your own cannot be a guest: help them as a regular patron.",
    ),
    "malformed-card-number": (
        "Scan de pas opnieuw, of typ het nummer over.",
        "Scan again, or type the number.",
    ),
    "malformed-isil": (
        "Controleer de ISIL-code, of zoek de bibliotheek op naam.",
        "Check the ISIL code, or look for the library by name.",
    ),
    "home-patron-not-found": (
        "Controleer pasnummer en ISIL-code: hoort de pas bij deze bibliotheek?",
        "Check card number and ISIL code: does the card belong to this library?",
    ),
    "unknown-home-library": (
        "Controleer de ISIL-code. Doet deze bibliotheek mee aan landelijk lenen?",
        "Check the ISIL code. Does this library take part?",
    ),
    "home-library-unavailable": (
        "Wat u heeft ingevuld, staat er nog. Druk zo nog eens op dezelfde knop.",
        "What you filled in is still there. Press the same button again in a moment.",
    ),
    "login-accounts-unavailable": (
        "Zoek het zo nog eens, of schrijf nu in zonder inlogaccount en koppel het later.",
        "Search again in a moment, or register without a login account now and link it later.",
    ),
    "overloaded": (
        "Wat u heeft ingevuld, staat er nog. Druk zo nog eens op dezelfde knop.",
        "What you filled in is still there. Press the same button again in a moment.",
    ),
    "database-unavailable": (
        "Wat u heeft ingevuld, staat er nog. Druk zo nog eens op dezelfde knop.",
        "What you filled in is still there. Press the same button again in a moment.",
    ),
    "wrong-patron-type": ("Zet het klanttype terug op 04.", "Set the patron type back to 04."),
    "not-expired": (
        "De gastlener is geldig: u hoeft niets te doen.",
        "The guest is valid: nothing needs doing.",
    ),
    "already-linked": (
        "Ontkoppel op het tabblad Inlogaccount eerst het huidige account.",
        "Unlink the present account first, on the tab Login account.",
    ),
    "no-longer-registered": (
        "Scan de pas en schrijf de klant opnieuw in.",
        "Scan the card and register afresh.",
    ),
    "unknown-branch": ("Kies bovenaan uw vestiging.", "Choose your branch at the top."),
    "idempotency-key-reused": (
        "Laad de pagina opnieuw: dit formulier is al eens verstuurd.",
        "Reload the page: this form was sent before.",
    ),
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

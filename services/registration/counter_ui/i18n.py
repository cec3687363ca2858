"""The counter's texts for the services' codes: Dutch first, English second."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from registration.application.dependencies import GuestAccount
from registration.domain.login_link import LinkState, LoginLink
from registration.domain.term_check import REASON_OF_EXPIRY
from registration.domain.verdict import Mismatch
from registration.read_models.history import HistoryLine
from shared.event_log.retention import BY_ITSELF
from shared.kernel.library_card import ScanFault, scan_fault

Texts = tuple[str, str]
Translate = Callable[[str, str], str]

HOME_REASONS: Mapping[str, Texts] = {
    "expired-subscription": ("het abonnement is verlopen", "the subscription has expired"),
    "blocked": ("de klant is geblokkeerd", "the patron is blocked"),
    "card-lost": ("de pas is als verloren gemeld", "the card was reported lost"),
    "fines": ("er staat een boete te lang open", "a fine has been open for too long"),
    "fees": ("er staan kosten te lang open", "fees have been open for too long"),
    "overdue": ("er zijn materialen te laat en nog niet teruggebracht", "items are overdue"),
    "too-many-charged": ("er is te veel tegelijk geleend", "too many items are on loan"),
    "too-many-renewals": ("er is te vaak verlengd", "there were too many renewals"),
    "too-many-claims": (
        "er is te vaak gemeld dat iets al was teruggebracht",
        "too many items were claimed returned",
    ),
    "too-many-lost": ("er zijn te veel materialen verloren", "too many items were lost"),
    "recall-overdue": ("een teruggevraagd exemplaar is te laat", "a recalled item is overdue"),
    "billed": ("er staat een rekening open", "there is an open bill"),
    "guest-subscription": (
        "het abonnement daar is zelf een gastabonnement",
        "the subscription there is itself a guest subscription",
    ),
    Mismatch.OTHER_PERSON: (
        "de pas staat daar nu op naam van iemand met een andere geboortedatum",
        "the card now belongs to a person with another date of birth there",
    ),
    Mismatch.CARD_OF_ANOTHER_GUEST: (
        "de pas heeft een nieuw nummer, en dat is hier van een andere gastlener",
        "the card has a new number, which is another guest's here",
    ),
}

CHANGES: Mapping[str, Texts] = {
    "status": ("de status", "the status"),
    "term": ("de einddatum", "the end date"),
    "name": ("de naam", "the name"),
    "birth_date": ("de geboortedatum", "the date of birth"),
    "address": ("het adres", "the address"),
    "email": ("het e-mailadres", "the e-mail address"),
    "card_number": ("het pasnummer", "the card number"),
}
"""What a reply of a home library changed of a guest."""

LINK_REFUSALS: Mapping[str, Texts] = {
    "unknown-account": ("dit inlogaccount bestaat niet", "there is no such login account"),
    "account-in-use": (
        "dit inlogaccount is al aan een andere gastlener gekoppeld",
        "this login account is linked to another guest",
    ),
    "username-taken": ("deze gebruikersnaam is al in gebruik", "this username is taken"),
    "malformed-username": (
        "deze gebruikersnaam heeft tekens die niet mogen",
        "this username has characters that are not allowed",
    ),
    "other-home-library": (
        "dit inlogaccount is van een andere thuisbibliotheek",
        "this login account belongs to another home library",
    ),
}

LINK_STATES: Mapping[LinkState, tuple[str, Texts]] = {
    LinkState.NONE: ("info", ("Geen inlogaccount", "No login account")),
    LinkState.PENDING: ("warning", ("Koppeling in behandeling …", "The link is being made …")),
    LinkState.LINKED: (
        "success",
        (
            "Inlogaccount gekoppeld: de klant kan nu inloggen.",
            "Login account linked: the patron can log in now.",
        ),
    ),
    LinkState.REFUSED: ("error", ("Niet gekoppeld", "Not linked")),
    LinkState.TOO_LATE: (
        "warning",
        (
            "Te laat gekoppeld: de klant had hier al ingelogd. Inloggen blijft werken.",
            "Linked too late: the patron had already logged in here. The login keeps working.",
        ),
    ),
}

EVENT_TEXTS: Mapping[str, Texts] = {
    "guest-registered": ("Ingeschreven", "Registered"),
    "guest-imported": ("Overgenomen uit een ander systeem", "Taken over from another system"),
    "lending-strips-granted": ("Leenstrips bijgeschreven", "Lending strips granted"),
    "term-confirmed": ("Looptijd van de thuisbibliotheek overgenomen", "Term taken from the home library"),
    "subscription-expired": ("Abonnement opgezegd", "Subscription expired"),
    "guest-suspended": ("Geblokkeerd", "Suspended"),
    "guest-reinstated": ("Blokkade opgeheven", "Reinstated"),
    "guest-preferences-changed": ("Voorkeuren gewijzigd", "Preferences changed"),
    "card-number-changed": (
        "Ander pasnummer van de thuisbibliotheek",
        "Other card number of the home library",
    ),
    "patron-details-changed": (
        "Gegevens van de thuisbibliotheek overgenomen",
        "Details taken from the home library",
    ),
    "card-chip-changed": ("Chip van de pas verbeterd", "Chip of the card corrected"),
    "guest-reregistered": ("Heringeschreven", "Re-registered"),
    "login-account-link-requested": ("Koppeling aangevraagd", "Link requested"),
    "login-account-link-confirmed": ("Inlogaccount gekoppeld", "Login account linked"),
    "login-account-link-refused": ("Koppeling geweigerd", "Link refused"),
    "login-actors-merge-requested": ("Samenvoegen van twee inlogs gevraagd", "Merge of two logins requested"),
    "login-account-unlinked": ("Inlogaccount ontkoppeld", "Login account unlinked"),
    "guest-deregistered": ("Uitgeschreven", "Deregistered"),
    "guests-merged": ("Samengevoegd met een andere inschrijving", "Merged into another record"),
    "duplicate-merged": ("Een dubbele inschrijving opgenomen", "Absorbed a merged record"),
    "personal-data-erased": ("Persoonsgegevens gewist", "Personal data erased"),
}


def reason_of(code: str, translate: Translate) -> str:
    """Return the text for a home library's reason; an unknown code is returned as it is."""
    return translate(*HOME_REASONS.get(code, (code, code)))


SAID_BY_HOME = frozenset(
    {
        *("term-confirmed", "subscription-expired", "guest-suspended", "guest-reinstated"),
        "card-number-changed",
        "patron-details-changed",
    }
)
"""Events that say what the home library said (R26), at anyone's request."""
REASONS: Mapping[str, Mapping[str, Texts]] = {
    "subscription-expired": {**HOME_REASONS, REASON_OF_EXPIRY: ("overig", "other")},
    "guest-suspended": HOME_REASONS,
    "login-account-link-refused": LINK_REFUSALS,
}
"""Event -> its reasons that are codes. The reasons of all other events are a clerk's own words."""
NOT_STAFF: Mapping[str, Texts] = {
    "nightly": ("de nachtelijke controle", "the nightly check"),
    "identity": ("het inlogsysteem", "the login system"),
    BY_ITSELF: ("de bewaartermijn", "the retention period"),
    "erasure ledger": ("het wislogboek", "the erasure ledger"),
}


def happened(what: str, translate: Translate) -> str:
    """Return the name of an event of the history."""
    return translate(*EVENT_TEXTS.get(what, (what, what)))


def caused_by(line: HistoryLine, names: Mapping[str, str], translate: Translate) -> str:
    """Return who caused an event. What a home library said is caused by it, and not by who asked.

    `names`: subject -> name of staff. A subject without a name, such as that of a program, is shown as it is.
    """
    asked = translate(*NOT_STAFF[line.by]) if line.by in NOT_STAFF else names.get(line.by, line.by)
    if line.what not in SAID_BY_HOME:
        return asked
    return translate(f"thuisbibliotheek, gevraagd door {asked}", f"home library, asked by {asked}")


def because(line: HistoryLine, translate: Translate) -> str:
    """Return the reason of an event: texts for codes, a clerk's own words unchanged; empty without one.

    Of an imported guest: the system, and the day of the registration there (R29).
    """
    if line.what == "guest-imported":
        source, day = line.details["source"], date.fromisoformat(line.details["registered_on"])
        return translate(
            f"{source}, daar ingeschreven op {day:%d-%m-%Y}", f"{source}, registered there on {day:%d-%m-%Y}"
        )
    reason = line.details.get("reason") or line.details.get("login_account_reason") or ""
    codes = REASONS.get(line.what)
    if codes is None:
        return reason
    return ", ".join(translate(*codes.get(code, (code, code))) for code in reason.split(", "))


LANGUAGES: Mapping[str, Texts] = {"nl": ("Nederlands", "Dutch"), "en": ("Engels", "English")}
YES: Texts = ("ja", "yes")
NO: Texts = ("nee", "no")


def preferred(details: Mapping[str, Any], translate: Translate) -> str:
    """Return what an event of the history says of preferences; empty if it says nothing (R27)."""
    if "preferred_language" not in details:
        return ""
    language = details["preferred_language"]
    said = {
        ("voorkeurstaal", "preferred language"): LANGUAGES.get(language, (language, language)),
        ("nieuwsbrief", "newsletter"): YES if details.get("newsletter") else NO,
        ("leenhistorie", "lending history"): YES if details.get("lending_history") else NO,
    }
    return ", ".join(f"{translate(*what)}: {translate(*value)}" for what, value in said.items())


def account_words(account: GuestAccount | None, translate: Translate) -> str:
    """Return what a login account is called; its id where identity does not say. Empty without an account."""
    if account is None:
        return ""
    if account.state == "unavailable":
        said = translate("gebruikersnaam nu niet op te vragen", "username not available now")
        return f"{account.account_id} ({said})"
    if account.state == "unknown":
        return f"{account.account_id} ({translate('onbekend account', 'unknown account')})"
    return account.username or translate("gewist", "erased")


def link_words(link: LoginLink, translate: Translate) -> tuple[str, str]:
    """Return the kind of alert for the link's state, and its text with the reason of a refusal."""
    kind, texts = LINK_STATES[link.state]
    if link.state is not LinkState.REFUSED or not link.reason:
        return kind, translate(*texts)
    return (
        kind,
        f"{translate(*texts)}: {translate(*LINK_REFUSALS.get(link.reason, (link.reason, link.reason)))}.",
    )


SCAN_FAULTS: Mapping[ScanFault, Texts] = {
    ScanFault.START_STOP: (
        "De scanner stuurt start- en stoptekens van de streepjescode mee. Typ het nummer zonder die tekens.",
        "The scanner sends start and stop signs of the barcode too. Type the number without those signs.",
    ),
    ScanFault.TWICE: (
        "De scanner heeft de pas twee keer gelezen. Scan opnieuw, of typ het nummer één keer.",
        "The scanner read the card twice. Scan again, or type the number once.",
    ),
}


def scan_hint(card_number: str, translate: Translate) -> str:
    """Return what the scanner seems to have done to this number; empty if nothing does."""
    fault = scan_fault(card_number)
    return translate(*SCAN_FAULTS[fault]) if fault else ""


PRESS_AGAIN: Texts = (
    "Wat u heeft ingevuld, staat er nog. Druk zo nog eens op dezelfde knop.",
    "What you filled in is still there. Press the same button again in a moment.",
)
SEARCH_AGAIN: Texts = (
    "Zoek het inlogaccount opnieuw, met de gebruikersnaam van de klant.",
    "Search for the login account again, with the patron's username.",
)
NEXT_STEPS: Mapping[str, Texts] = {
    "guest-refused": (
        "De klant moet contact opnemen met de eigen bibliotheek.",
        "The patron has to contact their own library.",
    ),
    "likely-duplicate": (
        "Vergelijk de gastlener hieronder met de klant: is het dezelfde persoon, of iemand anders?",
        "Compare the guest below with the patron: is it the same person, or another one?",
    ),
    "chained-guest": (
        "Vraag naar de pas van de bibliotheek waar de klant zelf lid is.",
        "Ask for the card of the library where the patron is a member.",
    ),
    "own-library": (
        "Een eigen lid kan geen gastlener worden: help de klant als reguliere klant.",
        "A member of your own library cannot be a guest: help them as a regular patron.",
    ),
    "malformed-card-number": (
        "Scan de pas opnieuw, of typ het nummer over.",
        "Scan the card again, or type the number.",
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
        "Check the ISIL code. Does this library take part in Landelijk Lenen?",
    ),
    "home-library-unavailable": PRESS_AGAIN,
    "login-accounts-unavailable": (
        "Zoek het zo nog eens, of schrijf nu in zonder inlogaccount en koppel het later.",
        "Search again in a moment, or register without a login account now and link it later.",
    ),
    "too-many-lookups": (
        "Wacht even. Gaat het vaker mis, vraag dan een beheerder om hulp.",
        "Wait a moment. If it happens more often, ask an operator for help.",
    ),
    "account-handle-invalid": SEARCH_AGAIN,
    "referral-invalid": (
        "Laat de klant opnieuw inloggen bij de catalogus, of scan de pas en zoek het inlogaccount op naam.",
        "Let the patron log in at the catalogue again, or scan the card and search for the login account.",
    ),
    "account-of-other-library": SEARCH_AGAIN,
    "account-of-other-person": (
        "Zoek het account nog eens en vul de reden in, of kies een ander account.",
        "Search the account once more and fill in the reason, or choose another account.",
    ),
    "username-taken": ("Kies een andere gebruikersnaam.", "Choose another username."),
    "overloaded": PRESS_AGAIN,
    "database-unavailable": PRESS_AGAIN,
    "wrong-patron-type": ("Zet het klanttype terug op 04.", "Set the patron type back to 04."),
    "other-person": (
        "Is de pas nu van iemand anders? Laat een beheerder de vorige gastlener wissen, en schrijf dan in.",
        "Is the card another person's now? Let an operator erase the former guest, then register the patron.",
    ),
    "card-of-another-guest": (
        "Zoek die gastlener op met de nieuwe pas. Is het dezelfde persoon, kies dan Ontdubbelen.",
        "Find that guest with the new card. If it is the same person, choose Merge.",
    ),
    "not-expired": (
        "Kijk naar de status van de gastlener. Is die geldig, dan hoeft u niets te doen.",
        "Look at the guest's status. If it is valid, you need not do anything.",
    ),
    "already-linked": (
        "Ontkoppel op het tabblad Inlogaccount eerst het huidige account.",
        "First unlink the current account on the tab Login account.",
    ),
    "no-longer-registered": (
        "Scan de pas en schrijf de klant opnieuw in.",
        "Scan the card and register the patron again.",
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
        "Go back to the previous page, reload it and fill in the form again.",
    ),
    "form-too-large": ("Ga terug en vul minder in.", "Go back and fill in less."),
    "form-not-kept": (
        "Scan de pas van de klant opnieuw. Is de klant al ingeschreven, dan ziet u de gastlener.",
        "Scan the patron's card again. If the patron is registered already, you see the guest.",
    ),
    "wrong-scope": (
        "Meld u af en meld u aan met een ander account.",
        "Sign out, then sign in with another account.",
    ),
    "internal-error": (
        "Probeer het opnieuw. Blijft het misgaan, meld dan het kenmerk hieronder aan beheer.",
        "Try again. If it fails again, report the reference below to your operators.",
    ),
    "record-unreadable": (
        "Help andere klanten gewoon verder, en meld het kenmerk hieronder aan beheer.",
        "Go on with other patrons, and report the reference below to your operators.",
    ),
    "not-too-late": ("Open de gastlener opnieuw.", "Open the guest again."),
    "merge-blocked": (
        "Laat deze twee zoals ze zijn, en meld het aan een beheerder.",
        "Leave these two as they are, and report it to an operator.",
    ),
    "not-linked": ("Open de gastlener opnieuw.", "Open the guest again."),
    "guest-merged": (
        "Open de gastlener opnieuw en druk op Naar de gastlener.",
        "Open the guest again and press To the guest.",
    ),
    "guest-erased": (
        "Wil de klant weer lenen? Scan dan de pas en schrijf de klant opnieuw in.",
        "Does the patron want to borrow again? Then scan the card and register the patron again.",
    ),
    "unknown-subscription": ("Kies een ander abonnement.", "Choose another subscription."),
    "unknown-organisation": ("Meld dit aan een beheerder.", "Report this to an operator."),
    "no-such-view": ("Ga terug naar beheer.", "Go back to the operators' page."),
    "not-held": ("Ga terug naar beheer.", "Go back to the operators' page."),
    "only-waiting": (
        "Wacht, of kies op de beheerpagina Opnieuw proberen.",
        "Wait, or choose Try again on the operators' page.",
    ),
    "rebuild-running": ("Wacht tot dat proces klaar is.", "Wait until that process is done."),
    "no-such-page": ("Ga naar de balie en zoek daar verder.", "Go to the counter and search there."),
    "sign-in-failed": ("Probeer opnieuw aan te melden.", "Try to sign in again."),
    "sign-in-refused": (
        "Probeer het opnieuw. Blijft het misgaan, vraag dan een beheerder om toegang tot de balie.",
        "Try again. If it fails again, ask an administrator for access to the counter.",
    ),
    "sign-in-incomplete": (
        "Vraag een beheerder om uw account in te stellen, en noem het kenmerk hieronder.",
        "Ask an administrator to set up your account, and mention the reference below.",
    ),
    "sign-in-misconfigured": (
        "Opnieuw proberen helpt niet. Geef het kenmerk hieronder aan een beheerder.",
        "Trying again does not help. Give the reference below to an administrator.",
    ),
    "sign-in-mixed-up": (
        "Begin opnieuw op deze pagina. Blijft het misgaan, geef het kenmerk hieronder dan aan een beheerder.",
        "Begin again on this page. If it fails again, give the reference below to an administrator.",
    ),
    "sign-in-unavailable": (
        "Wacht even en probeer het opnieuw. Blijft het zo, geef het kenmerk hieronder dan aan een beheerder.",
        "Wait a moment and try again. If it stays so, give the reference below to an administrator.",
    ),
}
OTHERWISE: Texts = ("Ga terug en probeer het opnieuw.", "Go back and try again.")


def next_step(code: str, translate: Translate, *, beside_form: bool) -> str:
    """Return what the clerk does next after a problem. `beside_form`: the page still shows the form."""
    texts = NEXT_STEPS.get(code, OTHERWISE)
    return translate(*(OTHERWISE if texts is PRESS_AGAIN and not beside_form else texts))

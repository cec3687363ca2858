"""The problem type of each broken rule. English sentences come from the errors' docstrings (ADR 0017)."""

from collections.abc import Mapping

from registration.adapters.identity_client import IdentityRefuses, IdentitySilent
from registration.domain import errors, merge
from shared.kernel.library_card import MalformedCardNumber, MalformedIsil, ScanFault
from shared.web.problems import ProblemType, ProblemTypes

# R4 prescribes this sentence, to the letter.
REFUSED = "Gastlener kan niet worden ingeschreven: reden [ Klant is geblokkeerd ]"


def _candidates(error: errors.AmbiguousHomeLibrary) -> Mapping[str, object]:
    return {
        "candidates": [
            {"isil": found.isil, "name": found.name, "organisation": found.organisation}
            for found in error.candidates
        ]
    }


def _likely(error: errors.LikelyDuplicate) -> Mapping[str, object]:
    return {
        "candidates": [
            {"guest_id": str(found.guest_id), "same_home_library": found.same_home_library}
            for found in error.candidates
        ]
    }


def _reasons(error: errors.GuestRefused) -> Mapping[str, object]:
    return {"reasons": [str(reason) for reason in error.reasons]}


def _guest_id(error: errors.AlreadyRegistered | errors.CardOfAnotherGuest) -> Mapping[str, object]:
    return {"guest_id": str(error.guest_id)}


def _merged_into(error: errors.GuestMerged) -> Mapping[str, object]:
    return {"merged_into": str(error.into)}


def _reason(error: merge.MergeBlocked) -> Mapping[str, object]:
    return {"reason": error.reason}


CHOICE_PROBLEMS = (
    errors.AccountHandleInvalid,
    errors.AccountOfOtherLibrary,
    errors.AccountOfOtherPerson,
    errors.UsernameTaken,
    errors.LoginAccountsUnavailable,
)
"""What can be wrong with the login account that a clerk chose (R17)."""

MERGE_OBSTACLES: Mapping[type[merge.MergeBlocked], str] = {
    merge.MergeBlocked: "Deze twee gastleners kunnen niet worden samengevoegd.",
    merge.DifferentBirthDates: "Deze twee zijn niet op dezelfde dag geboren: het is niet dezelfde persoon.",
    merge.NothingEqual: "Uit niets blijkt dat dit dezelfde persoon is: de pas van de thuisbibliotheek is"
    " niet gelijk, en achternaam, geboortedatum en adres zijn niet alle drie gelijk.",
    merge.MergedWithItself: "Dit is twee keer dezelfde inschrijving.",
    merge.MergedBefore: "Deze inschrijving is al met een andere samengevoegd.",
    merge.MergedIntoMergedRecord: "De andere inschrijving is zelf al samengevoegd:"
    " kies de inschrijving waar die naar verwijst.",
    merge.MergedIntoDeregistered: "De andere gastlener is uitgeschreven:"
    " voeg die samen met deze, niet andersom.",
    merge.MergedWithErased: "De persoonsgegevens van een van beide zijn gewist:"
    " er is niet meer te zien of dit dezelfde persoon is.",
}
"""Why two guests cannot be merged, in Dutch (R18). The code is always `merge-blocked`; `reason` differs."""

PROBLEM_TYPES: ProblemTypes = {
    **{kind: ProblemType(409, "merge-blocked", text, _reason) for kind, text in MERGE_OBSTACLES.items()},
    errors.GuestMerged: ProblemType(
        409,
        "guest-merged",
        "Deze inschrijving is samengevoegd met een andere van dezelfde persoon: ga daar verder.",
        _merged_into,
    ),
    MalformedCardNumber: ProblemType(
        422, "malformed-card-number", "Dit is geen pasnummer: het bestaat uit 1 tot 20 letters en cijfers."
    ),
    MalformedIsil: ProblemType(
        422, "malformed-isil", "Dit is geen ISIL-code: die bestaat uit NL- en 6 cijfers, soms 10."
    ),
    errors.WrongPatronType: ProblemType(422, "wrong-patron-type", "Verander dit niet!"),
    errors.UnknownSubscription: ProblemType(
        422, "unknown-subscription", "Dit abonnement wordt niet aangeboden."
    ),
    errors.UnknownBranch: ProblemType(
        422, "unknown-branch", "Uw instantie heeft geen vestiging met dit nummer."
    ),
    errors.UnknownOrganisation: ProblemType(
        403, "unknown-organisation", "Uw instantie is hier niet bekend; een beheerder kan haar toevoegen."
    ),
    errors.GuestNotFound: ProblemType(404, "guest-not-found", "Deze gastlener bestaat niet."),
    errors.HomePatronNotFound: ProblemType(
        404, "home-patron-not-found", "De thuisbibliotheek kent deze pas niet."
    ),
    errors.NotFoundWithStartStop: ProblemType(
        404,
        "home-patron-not-found",
        "De thuisbibliotheek kent deze pas niet. Laat de start- en stoptekens van de streepjescode weg.",
        lambda _: {"hint": ScanFault.START_STOP.value},
    ),
    errors.NotFoundTwice: ProblemType(
        404,
        "home-patron-not-found",
        "De thuisbibliotheek kent deze pas niet. Het nummer is twee keer gescand: vul het één keer in.",
        lambda _: {"hint": ScanFault.TWICE.value},
    ),
    errors.UnknownHomeLibrary: ProblemType(
        404, "unknown-home-library", "Er is geen thuisbibliotheek met deze ISIL-code bekend."
    ),
    errors.AmbiguousHomeLibrary: ProblemType(
        409,
        "ambiguous-home-library",
        "Deze pas kan van meer dan één bibliotheek zijn: kies de thuisbibliotheek.",
        _candidates,
    ),
    errors.HomeLibraryUnknownForCard: ProblemType(
        409,
        "home-library-unknown-for-card",
        "De thuisbibliotheek blijkt niet uit de pas: vul de ISIL-code in.",
    ),
    errors.GuestRefused: ProblemType(409, "guest-refused", REFUSED, _reasons),
    errors.AlreadyRegistered: ProblemType(
        409, "already-registered", "Deze persoon is hier al als gastlener ingeschreven.", _guest_id
    ),
    errors.LikelyDuplicate: ProblemType(
        409,
        "likely-duplicate",
        "Een gastlener met deze achternaam, geboortedatum en dit adres is hier al ingeschreven."
        " Is het dezelfde persoon?",
        _likely,
    ),
    errors.ChainedGuest: ProblemType(
        409, "chained-guest", "Het abonnement bij de thuisbibliotheek is zelf een gastabonnement."
    ),
    errors.OwnLibrary: ProblemType(409, "own-library", "Deze pas is van uw eigen bibliotheek."),
    errors.OtherPerson: ProblemType(
        409,
        "other-person",
        "Deze pas staat bij de thuisbibliotheek nu op naam van iemand met een andere geboortedatum."
        " Er is niets overgenomen.",
    ),
    errors.CardOfAnotherGuest: ProblemType(
        409,
        "card-of-another-guest",
        "De thuisbibliotheek heeft een nieuw nummer voor deze pas, en dat nummer is hier van een andere"
        " gastlener. Er is niets overgenomen.",
        _guest_id,
    ),
    errors.NotExpired: ProblemType(
        409,
        "not-expired",
        "Alleen een gastlener wiens abonnement is verlopen, kan opnieuw worden ingeschreven.",
    ),
    errors.AlreadyLinked: ProblemType(
        409, "already-linked", "Aan deze gastlener is al een inlogaccount gekoppeld: ontkoppel dat eerst."
    ),
    errors.NotTooLate: ProblemType(
        409, "not-too-late", "Dit inlogaccount hoort al bij één inlog: er is niets samen te voegen."
    ),
    errors.ActorMergeBlocked: ProblemType(
        409,
        "merge-blocked",
        "Deze twee inlogs kunnen niet worden samengevoegd: het is niet dezelfde persoon,"
        " of ze zijn al eerder samengevoegd.",
        lambda error: {"reason": error.reason},
    ),
    errors.NotLinked: ProblemType(409, "not-linked", "Aan deze gastlener is geen inlogaccount gekoppeld."),
    errors.NoLongerRegistered: ProblemType(
        409, "no-longer-registered", "Deze gastlener is uitgeschreven: schrijf de pas opnieuw in."
    ),
    errors.GuestErased: ProblemType(
        409,
        "guest-erased",
        "De persoonsgegevens van deze gastlener zijn gewist: er kan niets meer worden gewijzigd.",
    ),
    errors.ReferencesIncomplete: ProblemType(
        503,
        "references-incomplete",
        "Bibliotheken zijn samengevoegd en nog niet alle gastleners zijn bijgewerkt. Probeer het zo opnieuw.",
        retry_after=5,
    ),
    errors.HomeLibraryUnavailable: ProblemType(
        503,
        "home-library-unavailable",
        "De thuisbibliotheek antwoordt nu niet. Er is niets opgeslagen; probeer het zo opnieuw.",
        retry_after=5,
    ),
    errors.ReferralInvalid: ProblemType(
        422,
        "referral-invalid",
        "Deze doorverwijzing van de catalogus is verlopen, of is niet voor uw instantie.",
    ),
    errors.AccountHandleInvalid: ProblemType(
        422, "account-handle-invalid", "Dit zoekresultaat is niet (meer) geldig. Zoek het account opnieuw."
    ),
    errors.AccountOfOtherLibrary: ProblemType(
        409,
        "account-of-other-library",
        "Dit inlogaccount is van een andere thuisbibliotheek."
        " Zoek het account opnieuw bij de thuisbibliotheek van de klant.",
    ),
    errors.UsernameTaken: ProblemType(
        409, "username-taken", "Deze gebruikersnaam is bij deze thuisbibliotheek al in gebruik."
    ),
    errors.AccountOfOtherPerson: ProblemType(
        409,
        "account-of-other-person",
        "Dit inlogaccount staat op een andere pas dan die van de klant."
        " Koppel het alleen als dat klopt, en geef dan een reden op.",
    ),
    errors.TooManyLookups: ProblemType(
        429,
        "too-many-lookups",
        "U heeft in korte tijd te veel mensen opgezocht. Probeer het later opnieuw.",
        retry_after=lambda error: error.retry_after,
    ),
    errors.LoginAccountsUnavailable: ProblemType(
        503,
        "login-accounts-unavailable",
        "Inlogaccounts kunnen nu niet worden opgezocht. Probeer het zo opnieuw.",
        retry_after=5,
    ),
    IdentitySilent: ProblemType(
        503, "identity-unavailable", "Identity antwoordt nu niet. Probeer het zo opnieuw.", retry_after=5
    ),
    IdentityRefuses: ProblemType(
        503,
        "identity-refuses",
        "Identity staat dit niet toe: het servicetoken van registration heeft de scope `installation` nodig.",
    ),
}

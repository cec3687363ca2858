"""Problem types of identity: HTTP status, code and Dutch sentence of each error (ADR 0017).

The English sentence is the first paragraph of the error's docstring.
"""

from collections.abc import Mapping

from identity.application.dependencies import DirectoryUnavailable, RegistrationUnavailable
from identity.domain import errors
from shared.event_log import VersionConflict
from shared.kernel.library_card import MalformedCardNumber, MalformedIsil
from shared.messaging.errors import CannotApply
from shared.web.problems import ProblemType, ProblemTypes

_TRY_AGAIN = "De inschrijving kan nu niet worden nagevraagd. Er is niets opgeslagen; probeer het zo opnieuw."

MERGE_OBSTACLES: Mapping[type[errors.MergeBlocked], str] = {
    errors.MergeBlocked: "Deze twee actoren kunnen niet worden samengevoegd.",
    errors.DifferentBirthDates: "De gastleners van deze twee actoren hebben niet dezelfde geboortedatum:"
    " het is niet dezelfde persoon.",
    errors.MergedWithItself: "Dit is twee keer dezelfde actor.",
    errors.MergedBefore: "Deze actor is al met een andere samengevoegd.",
    errors.MergedIntoMergedRecord: "De andere actor is zelf al samengevoegd:"
    " kies de actor waarnaar die verwijst.",
}
"""Error -> why two actors cannot be merged (I6), in Dutch. All have the code `merge-blocked` and a reason."""


def _reason(error: errors.MergeBlocked) -> Mapping[str, object]:
    return {"reason": error.reason}


PROBLEM_TYPES: ProblemTypes = {
    **{kind: ProblemType(409, "merge-blocked", text, _reason) for kind, text in MERGE_OBSTACLES.items()},
    errors.LinkRequired: ProblemType(
        409,
        "link-required",
        "U bent hier ingeschreven zonder koppeling met dit inlogaccount: ga eerst langs de balie.",
    ),
    errors.AccountNotFound: ProblemType(404, "account-not-found", "Dit inlogaccount bestaat niet."),
    errors.UnknownOrganisation: ProblemType(
        422, "unknown-organisation", "Deze instantie is hier niet bekend; een beheerder kan haar toevoegen."
    ),
    errors.ActorNotFound: ProblemType(404, "actor-not-found", "Deze actor bestaat niet."),
    errors.UsernameTaken: ProblemType(
        409, "username-taken", "Deze gebruikersnaam is bij deze thuisbibliotheek al in gebruik."
    ),
    errors.AccountIdTaken: ProblemType(409, "account-id-taken", "Er is al een inlogaccount met dit kenmerk."),
    MalformedIsil: ProblemType(
        422, "malformed-isil", "Dit is geen ISIL-code: die bestaat uit NL- en 6 cijfers, soms 10."
    ),
    MalformedCardNumber: ProblemType(
        422, "malformed-card-number", "Dit is geen pasnummer: het bestaat uit 1 tot 20 letters en cijfers."
    ),
    errors.MalformedUsername: ProblemType(
        422,
        "malformed-username",
        "Dit is geen gebruikersnaam: letters en cijfers, met . _ - + @ ' ertussen, samen 1 tot 200 tekens.",
    ),
    RegistrationUnavailable: ProblemType(503, "registration-unavailable", _TRY_AGAIN, retry_after=2),
    CannotApply: ProblemType(503, "registration-unavailable", _TRY_AGAIN, retry_after=2),
    DirectoryUnavailable: ProblemType(
        503,
        "account-directory-unavailable",
        "Inlogaccounts kunnen nu niet worden opgezocht. Er is niets opgeslagen; probeer het zo opnieuw.",
        retry_after=2,
    ),
    VersionConflict: ProblemType(
        503, "overloaded", "Het is nu te druk. Er is niets opgeslagen; probeer het zo opnieuw.", retry_after=1
    ),
}

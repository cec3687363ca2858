"""How each refusal is told to the outside world; the English sentences are the errors' docstrings (A10)."""

from identity.application.ports import DirectoryUnavailable, RegistrationUnavailable
from identity.domain import errors
from shared.event_log import VersionConflict
from shared.messaging.errors import CannotApply
from shared.web.problems import ProblemKind, ProblemKinds

_TRY_AGAIN = "De inschrijving kan nu niet worden nagevraagd. Er is niets opgeslagen; probeer het zo opnieuw."

KINDS: ProblemKinds = {
    errors.LinkRequired: ProblemKind(
        409,
        "link-required",
        "U bent hier ingeschreven zonder koppeling met dit inlogaccount: ga eerst langs de balie.",
    ),
    errors.AccountNotFound: ProblemKind(404, "account-not-found", "Dit inlogaccount bestaat niet."),
    errors.ActorNotFound: ProblemKind(404, "actor-not-found", "Deze actor bestaat niet."),
    errors.UsernameTaken: ProblemKind(
        409, "username-taken", "Deze gebruikersnaam is bij deze thuisbibliotheek al in gebruik."
    ),
    errors.AccountIdTaken: ProblemKind(409, "account-id-taken", "Er is al een inlogaccount met dit kenmerk."),
    errors.MalformedIsil: ProblemKind(
        422, "malformed-isil", "Dit is geen ISIL-code: die bestaat uit NL- en 6 cijfers, soms 10."
    ),
    errors.MalformedCardNumber: ProblemKind(
        422, "malformed-card-number", "Dit is geen pasnummer: het bestaat uit 1 tot 20 letters en cijfers."
    ),
    errors.MalformedUsername: ProblemKind(
        422, "malformed-username", "Dit is geen gebruikersnaam: die heeft 1 tot 200 tekens."
    ),
    RegistrationUnavailable: ProblemKind(503, "registration-unavailable", _TRY_AGAIN, retry_after=2),
    CannotApply: ProblemKind(503, "registration-unavailable", _TRY_AGAIN, retry_after=2),
    DirectoryUnavailable: ProblemKind(
        503,
        "account-directory-unavailable",
        "Inlogaccounts kunnen nu niet worden opgezocht. Er is niets opgeslagen; probeer het zo opnieuw.",
        retry_after=2,
    ),
    VersionConflict: ProblemKind(
        503, "overloaded", "Het is nu te druk. Er is niets opgeslagen; probeer het zo opnieuw.", retry_after=1
    ),
}

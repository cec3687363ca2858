"""What home libraries write for no end, for nobody, for a fault of their own, and for a status (R23).

In plain words (`plain_words`). A library's settings may replace each list.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NO_END = frozenset(
    {"never", "nooit", "none", "geen", "no end", "onbeperkt", "onbepaald", "unlimited", "permanent"}
    | {"no end date", "no expiry", "no expiration", "never expires", "does not expire", "indefinite"}
    | {"geen einddatum", "geen einde", "verloopt niet", "onbepaalde tijd", "voor onbepaalde tijd"}
    | {"levenslang", "lifetime", "n a", "nvt", "n v t", "99999999"}
    | {"9999 12 31", "99991231", "00000000", "0000 00 00", "00 00 0000"}
)
UNKNOWN_NAMES = frozenset(
    {"onbekend", "onbekende pas", "onbekende kaart", "onbekende lener", "onbekende klant", "niet gevonden"}
    | {"pas onbekend", "kaart onbekend", "lener onbekend", "pas niet gevonden", "kaart niet gevonden"}
    | {"unknown", "unknown card", "unknown patron", "unknown borrower", "unknown user", "not found"}
    | {"card not found", "patron not found", "user not found", "borrower not found", "invalid patron"}
    | {
        "invalid card",
        "no such patron",
        "patron unknown",
        "geen naam",
        "no name",
        "null",
        "n a",
        "nvt",
        "n v t",
    }
)
NOT_KNOWN = _words(
    "niet geen onbekend onbekende ongeldig ongeldige not no unknown invalid nonexistent nonexisting"
    " unregistered unrecognised unrecognized"
)
WHO_IS_NOT_KNOWN = _words(
    "lener klant gebruiker lid lezer abonnee persoon client pas pasje kaart pashouder barcode nummer"
    " pasnummer kaartnummer klantnummer lenersnummer lidnummer patron user card member customer borrower"
    " reader person account record cardholder cardnumber number id gevonden bekend bestaat geregistreerd"
    " ingeschreven aanwezig found exist exists known registered recognised recognized"
)
BETWEEN = _words(
    "is de het een deze dit die bij in met op ons uw systeem such the a this your does with library was"
)
"""A text of words of these three alone, with one of each of the first two, names nobody: the ways in which
systems say so cannot all be listed."""
ERROR_MESSAGES = frozenset(
    {"server error", "internal error", "system error", "database error", "application error", "exception"}
    | {"systeemfout", "serverfout", "databasefout", "interne fout", "technische fout", "technische storing"}
    | {"timeout", "time out", "timed out", "connection refused", "cannot connect", "could not connect"}
    | {"service unavailable", "system unavailable", "temporarily unavailable", "system is down"}
    | {"niet bereikbaar", "tijdelijk niet beschikbaar", "off line", "out of memory"}
    | {"stack trace", "traceback", "sql error", "error occurred", "unexpected error", "system failure"}
    | {"onverwachte fout", "fout opgetreden", "fout 500", "error 500", "bad gateway", "offline"}
    | {"database niet beschikbaar", "systeem niet beschikbaar", "server niet beschikbaar", "storing in"}
    | {"database unavailable", "database not available", "database is down", "server not available"}
)

ACTIVE_STATUSES = frozenset(
    {"active", "activated", "valid", "ok", "good", "good standing", "in good standing", "enabled", "current"}
    | {"open", "actief", "geldig", "lopend"}
)
INACTIVE_STATUSES = frozenset(
    {"inactive", "not active", "invalid", "expired", "blocked", "barred", "suspended", "delinquent"}
    | {"disabled", "cancelled", "canceled", "closed", "revoked", "pending", "restricted", "deleted"}
    | {"inactief", "niet actief", "ongeldig", "verlopen", "geblokkeerd", "geschorst", "opgezegd"}
)
"""The status of a privilege (NCIP). One that is in neither list cannot be understood."""
HARMLESS_BLOCKS = frozenset(
    {"block renewal", "block renewals", "block recall", "block recalls", "block hold", "block holds"}
    | {"block request item", "block electronic resource access", "trap for message", "trap for pickup"}
)
"""Types of blocks and traps (NCIP) that do not keep a patron from borrowing, as the flags of SIP2 in R4."""
KOHA_BLOCKS = {
    "restricted": "restricted",
    "patron card lost": "patron_card_lost",
    "incorrect address": "incorrect_address",
}
"""What in a reply of Koha refuses, and its key there."""

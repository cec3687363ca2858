"""The fields of events that an erasure makes unreadable (R19, ADR 0005).

An event class names them: `SEALED = ("person_ref",)`. Those that have a value are stored encrypted, in one
field `sealed`, under the data key of the event's stream. In code they have their own names. When the
key was destroyed they are None. Events that were stored before a field was sealed keep it in clear text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventsourcing.domain import Aggregate

    from shared.event_log.encryption import DataKey

SEALED = "sealed"
_DATA_KEY = "data_key"


class NoDataKey(LookupError):
    """An event has sealed fields and its aggregate has no data key. Nothing was saved."""


def set_data_key(aggregate: Aggregate, key: DataKey) -> None:
    """Set the data key of an aggregate, for the events that it triggers. The key must have a stored row."""
    vars(aggregate)[_DATA_KEY] = key


def data_key_of(aggregate: Aggregate) -> DataKey | None:
    """Return the data key of an aggregate; None if it never had one, or after its erasure."""
    key: DataKey | None = vars(aggregate).get(_DATA_KEY)
    return key


def sealed(event: Any, key: DataKey | None) -> Any:
    """Return the event as it is stored. Raises NoDataKey."""
    names = _names(event)
    if not names:
        return event
    if key is None:
        raise NoDataKey(NoDataKey.__doc__)
    fields = dict(vars(event))
    values = {name: value for name in names if (value := fields.pop(name)) is not None}
    fields[SEALED] = key.encrypt(values)
    stored = object.__new__(type(event))  # `copy` takes longer than to encrypt
    object.__setattr__(stored, "__dict__", fields)
    return stored


def is_sealed(event: Any) -> bool:
    """Return whether the fields of an event that was read are still sealed."""
    return SEALED in vars(event) and bool(_names(event))


def unseal(event: Any, key: DataKey | None) -> None:
    """Open the sealed fields of an event that was read. Without the key they are None.

    Raises DecryptionFailed when the key does not fit.
    """
    if is_sealed(event):
        fields = vars(event)
        encrypted = fields.pop(SEALED)
        fields.update(dict.fromkeys(_names(event)))
        if key is not None:
            fields.update(key.decrypt(encrypted))


def hide(event: Any) -> None:
    """Set the sealed fields to None and keep the encrypted ones: for a view that does not decrypt."""
    if is_sealed(event):
        vars(event).update(dict.fromkeys(_names(event)))


def _names(event: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = getattr(type(event), "SEALED", ())
    return names

"""How services speak of a person without naming them."""

from __future__ import annotations

import hashlib
import hmac


def person_ref(key: bytes, home_isil_base: str, card_number: str) -> str:
    """Give the reference of the holder of a home library's card: HMAC-SHA256, 64 hexadecimal digits.

    `home_isil_base` is the ISIL's six-digit base (R3), `card_number` the canonical one (R1). Both services
    hold the same key, so both come to the same reference; without the key a card cannot be found from it.
    """
    named = f"{home_isil_base}|{card_number}"  # "|" is in neither (R1), so no two pairs look the same
    return hmac.new(key, named.encode(), hashlib.sha256).hexdigest()

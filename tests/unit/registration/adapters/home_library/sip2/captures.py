"""Patron information responses (64) as they come over the wire, written by hand from the SIP2 standard.

Each once in CP850 and once in UTF-8 (`ë` is 89 or C3 AB), with sequence digit 1 and its checksum. Fixed part
first, then the fields, then the trailer of nine characters and the CR. Asked on 11 September 2025, about card
0990139305.
"""

from typing import NamedTuple


class Capture(NamedTuple):
    """The same reply in both encodings."""

    cp850: bytes
    utf8: bytes


CAPTURES: dict[str, Capture] = {
    "valid": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|BDBrink 3, 9301 JK Roden|BE"
        b"zoe@voorbeeld.nl|BF050-5551234|PA20251231|PB19680417|"
        b"AY1AZD028\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|BDBrink 3, 9301 JK Roden|"
        b"BEzoe@voorbeeld.nl|BF050-5551234|PA20251231|PB19680417|"
        b"AY1AZCE59\r",
    ),
    "valid_no_end_known": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|"
        b"AY1AZE732\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|"
        b"AY1AZE563\r",
    ),
    "valid_end_field_blank": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA|"
        b"AY1AZE625\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA|"
        b"AY1AZE456\r",
    ),
    "valid_end_with_zone_and_time": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231    235900|"
        b"AY1AZE2E2\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231    235900|"
        b"AY1AZE113\r",
    ),
    "valid_end_in_utc_is_the_next_day_here": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231   Z233000|"
        b"AY1AZE2B3\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231   Z233000|"
        b"AY1AZE0E4\r",
    ),
    "valid_ends_today": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20250911|"
        b"AY1AZE491\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20250911|"
        b"AY1AZE2C2\r",
    ),
    "valid_end_already_past": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20250910|"
        b"AY1AZE492\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20250910|"
        b"AY1AZE2C3\r",
    ),
    "valid_end_unreadable": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA31-12-2025|"
        b"AY1AZE43B\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA31-12-2025|"
        b"AY1AZE26C\r",
    ),
    "valid_end_no_such_day": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20250230|"
        b"AY1AZE497\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20250230|"
        b"AY1AZE2C8\r",
    ),
    "valid_two_ends": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|PA20261231|"
        b"AY1AZE1F7\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|PA20261231|"
        b"AY1AZE028\r",
    ),
    "valid_counts_blank": Capture(
        b"64              00520250911    101530                        "
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE615\r",
        b"64              00520250911    101530                        "
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE446\r",
    ),
    "valid_fields_in_another_order": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"PA20251231|BLY|AFWelkom|AFTot ziens|AEZo\x89 Brouw\x82r|CQN|AONL-070288|AGLi"
        b"ne|AA0990139305|"
        b"AY1AZD8B6\r",
        b"64              00520250911    101530000000000000000000000000"
        b"PA20251231|BLY|AFWelkom|AFTot ziens|AEZo\xc3\xab Brouw\xc3\xa9r|CQN|AONL-070288|AG"
        b"Line|AA0990139305|"
        b"AY1AZD6E7\r",
    ),
    "valid_guest_subscription": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|PCGAST|"
        b"AY1AZE257\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|PCGAST|"
        b"AY1AZE088\r",
    ),
    "valid_other_patron_type": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|PCLID|"
        b"AY1AZE2AD\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|PCLID|"
        b"AY1AZE0DE\r",
    ),
    "valid_replaced_card": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139362|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE492\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139362|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE2C3\r",
    ),
    "valid_recall_alone_does_not_refuse": Capture(
        b"64  Y           00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE45C\r",
        b"64  Y           00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE28D\r",
    ),
    "valid_renewal_hold_renewals_claims": Capture(
        b"64 Y Y   YY     00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE3B1\r",
        b"64 Y Y   YY     00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE1E2\r",
    ),
    "refused_charge_denied": Capture(
        b"64Y             00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE45C\r",
        b"64Y             00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE28D\r",
    ),
    "refused_card_lost": Capture(
        b"64    Y         00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE45C\r",
        b"64    Y         00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE28D\r",
    ),
    "refused_too_many_charged": Capture(
        b"64     Y        00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE45C\r",
        b"64     Y        00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE28D\r",
    ),
    "refused_overdue": Capture(
        b"64      Y       00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE45C\r",
        b"64      Y       00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE28D\r",
    ),
    "refused_too_many_lost": Capture(
        b"64         Y    00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE45C\r",
        b"64         Y    00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE28D\r",
    ),
    "refused_fines": Capture(
        b"64          Y   00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE45C\r",
        b"64          Y   00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE28D\r",
    ),
    "refused_fees": Capture(
        b"64           Y  00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE45C\r",
        b"64           Y  00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE28D\r",
    ),
    "refused_recall_overdue": Capture(
        b"64            Y 00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE45C\r",
        b"64            Y 00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE28D\r",
    ),
    "refused_billed": Capture(
        b"64             Y00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE45C\r",
        b"64             Y00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE28D\r",
    ),
    "refused_any_character_is_a_flag": Capture(
        b"64          1   00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE484\r",
        b"64          1   00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE2B5\r",
    ),
    "refused_fines_and_card_lost": Capture(
        b"64    Y     Y   00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLN|PA20251231|AFU heeft nog ie"
        b"ts openstaan|"
        b"AY1AZD988\r",
        b"64    Y     Y   00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLN|PA20251231|AFU heeft nog "
        b"iets openstaan|"
        b"AY1AZD7B9\r",
    ),
    "refused_expired": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLN|PA20250910|"
        b"AY1AZE49D\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLN|PA20250910|"
        b"AY1AZE2CE\r",
    ),
    "refused_expired_with_flags": Capture(
        b"64YYYY          00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLN|PA20250910|"
        b"AY1AZE3B9\r",
        b"64YYYY          00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLN|PA20250910|"
        b"AY1AZE1EA\r",
    ),
    "refused_flag_and_end_past": Capture(
        b"64          Y   00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20250910|"
        b"AY1AZE459\r",
        b"64          Y   00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20250910|"
        b"AY1AZE28A\r",
    ),
    "refused_bare_no_is_a_block": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLN|"
        b"AY1AZE73D\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLN|"
        b"AY1AZE56E\r",
    ),
    "refused_no_with_end_to_come_is_a_block": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLN|PA20251231|"
        b"AY1AZE4A0\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLN|PA20251231|"
        b"AY1AZE2D1\r",
    ),
    "refused_no_with_end_today_is_a_block": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLN|PA20250911|"
        b"AY1AZE49C\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLN|PA20250911|"
        b"AY1AZE2CD\r",
    ),
    "refused_no_with_end_unreadable": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLN|PAonbekend|"
        b"AY1AZE2EA\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLN|PAonbekend|"
        b"AY1AZE11B\r",
    ),
    "not_found": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AE|BLN|"
        b"AY1AZEBB2\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AE|BLN|"
        b"AY1AZEBB2\r",
    ),
    "not_found_without_name_field": Capture(
        b"64              00520250911    101530                        "
        b"AONL-070288|AA0990139305|BLN|AFOnbekende pas|"
        b"AY1AZE842\r",
        b"64              00520250911    101530                        "
        b"AONL-070288|AA0990139305|BLN|AFOnbekende pas|"
        b"AY1AZE842\r",
    ),
    "not_found_all_flags": Capture(
        b"64YYYYYYYYYYYYYY00520250911    101530000000000000000000000000AONL-070288|AA|AE|BLN|AY1AZEA9B\r",
        b"64YYYYYYYYYYYYYY00520250911    101530000000000000000000000000AONL-070288|AA|AE|BLN|AY1AZEA9B\r",
    ),
    "garbled_without_validity": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|PA20251231|"
        b"AY1AZE5F8\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|PA20251231|"
        b"AY1AZE429\r",
    ),
    "garbled_validity_blank": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BL|PA20251231|"
        b"AY1AZE4EE\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BL|PA20251231|"
        b"AY1AZE31F\r",
    ),
    "garbled_two_validities": Capture(
        b"64          Y   00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLN|BLY|PA20251231|"
        b"AY1AZE304\r",
        b"64          Y   00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLN|BLY|PA20251231|"
        b"AY1AZE135\r",
    ),
    "garbled_two_cards": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|AA0990139313|BLY|"
        b"AY1AZE42E\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|AA0990139313|BLY|"
        b"AY1AZE25F\r",
    ),
    "garbled_valid_without_name": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AE|BLY|"
        b"AY1AZEBA7\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA0990139305|AE|BLY|"
        b"AY1AZEBA7\r",
    ),
    "garbled_without_card": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AEZo\x89 Brouw\x82r|BLY|"
        b"AY1AZEA37\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|"
        b"AY1AZE868\r",
    ),
    "garbled_card_number": Capture(
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA09 90|AEZo\x89 Brouw\x82r|BLY|"
        b"AY1AZE847\r",
        b"64              00520250911    101530000000000000000000000000"
        b"AONL-070288|AA09 90|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|"
        b"AY1AZE678\r",
    ),
    "garbled_flag_lost_a_character": Capture(
        b"64             00520250911    101530000000000000000000000000A"
        b"ONL-070288|AA0990139305|AEZo\x89 Brouw\x82r|BLY|PA20251231|"
        b"AY1AZE4B5\r",
        b"64             00520250911    101530000000000000000000000000A"
        b"ONL-070288|AA0990139305|AEZo\xc3\xab Brouw\xc3\xa9r|BLY|PA20251231|"
        b"AY1AZE2E6\r",
    ),
    "garbled_cut_short": Capture(
        b"64              00520250911    101530000000000AY1AZF6ED\rAY1AZF6ED\r",
        b"64              00520250911    101530000000000AY1AZF6ED\rAY1AZF6ED\r",
    ),
    "garbled_another_message": Capture(
        b"98YNNNNN03000320250911    1015302.00AONL-070288|BXNNNNYNNNNNNNNNNN|AY1AZEE19\r",
        b"98YNNNNN03000320250911    1015302.00AONL-070288|BXNNNNYNNNNNNNNNNN|AY1AZEE19\r",
    ),
}

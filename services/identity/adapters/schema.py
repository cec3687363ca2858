"""The tables of identity beside its event log."""

from collections.abc import Sequence

from shared.event_log.transfer.tables import TransferredTable

SCHEMA: Sequence[tuple[str, str]] = (
    (
        "identity_0001_usernames",
        """
        -- Who holds a username at a home library: being first with the row is what makes it taken (I2).
        -- The key is an HMAC, so that no username stands here to be read.
        CREATE TABLE usernames (
            username_key text NOT NULL,
            account_id text NOT NULL,
            CONSTRAINT usernames_pkey PRIMARY KEY (username_key)
        );
        CREATE INDEX usernames_account_id_idx ON usernames (account_id);
        """,
    ),
)

TRANSFERRED_TABLES: Sequence[TransferredTable] = (TransferredTable("usernames", 'username_key COLLATE "C"'),)

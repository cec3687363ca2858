"""The table that says how far each view has come."""

from collections.abc import Sequence

SCHEMA: Sequence[tuple[str, str]] = (
    (
        "projections_0001",
        """
        -- `position`: every event up to here is in the view. It moves in the transaction of the rows; whoever
        -- moves it locks its row first, so two that follow one view take turns. `failure`: why it stands.
        CREATE TABLE projections (
            name text PRIMARY KEY,
            position bigint NOT NULL DEFAULT 0,
            moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            rebuilt_at timestamptz,
            failure text
        );
        """,
    ),
)

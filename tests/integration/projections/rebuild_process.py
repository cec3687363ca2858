"""A process that rebuilds the guest directory, to be killed: `python -m … URL`."""

import asyncio
import sys

from registration.read_models.guest_directory import VIEW
from shared.event_log import MasterKeys
from shared.projections import building
from shared.projections.building import Source
from shared.projections.rebuild import rebuild

if __name__ == "__main__":
    building.SMALL_LOG = 0
    asyncio.run(rebuild(Source(sys.argv[1], MasterKeys([b"m" * 32])), VIEW, lambda _: None))

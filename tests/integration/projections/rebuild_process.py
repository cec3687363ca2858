"""A process that rebuilds the guest directory, to be killed: `python -m … URL`."""

import asyncio
import sys

from registration.read_models.guest_directory import VIEW
from shared.event_log import MasterKeys
from shared.projections import rebuild as rebuilding
from shared.projections.rebuild import Source, rebuild

if __name__ == "__main__":
    rebuilding.SMALL_LOG = 0
    asyncio.run(rebuild(Source(sys.argv[1], MasterKeys([b"m" * 32])), VIEW, lambda _: None))

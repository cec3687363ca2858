"""Installs the foreign peers, the slowest first, while other tests run: `python -m tests.support.peers`.

What cannot be installed is not said here: the tests that meet it say it.
"""

from contextlib import suppress

from tests.support.peers.environments import HERE, PeerMissing, peer_python
from tests.support.peers.oidc_provider import installed

locks = sorted(HERE.glob("*.txt"), key=lambda lock: lock.stat().st_size, reverse=True)
for lock in locks:
    with suppress(PeerMissing):
        peer_python(lock.stem)
with suppress(PeerMissing):
    installed()

"""How much memory a rebuild takes: the largest of its processes at its peak, in a process of its own."""

from __future__ import annotations

import asyncio
import resource
import sys

from registration.read_models import VIEWS
from shared.projections.rebuild import Source, rebuild
from tests.benchmarks.guests import MASTER_KEYS


async def peak_of_rebuild(url: str, view: str) -> float:
    """MiB of resident memory."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.memory", url, view), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the rebuild whose memory was to be measured failed")
    return float(output)


async def _rebuild(url: str, name: str) -> None:
    (view,) = (view for view in VIEWS if view.name == name)
    await rebuild(Source(url, MASTER_KEYS), view, lambda _: None)


if __name__ == "__main__":
    asyncio.run(_rebuild(sys.argv[1], sys.argv[2]))
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    sys.stdout.write(f"{max(peaks) / 1024}\n")

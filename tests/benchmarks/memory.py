"""Measures the memory of a rebuild, which runs in its own process: the peak of its largest process."""

from __future__ import annotations

import asyncio
import resource
import sys

from registration.read_models import VIEWS
from shared.projections.rebuild import Source, rebuild
from tests.benchmarks.guests import MASTER_KEYS


async def peak_of_rebuild(url: str, view: str) -> float:
    """Rebuild a view in a new process. Return its peak of resident memory in MiB."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.memory", url, view), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the rebuild failed, so its memory cannot be measured")
    return float(output)


async def _rebuild(url: str, name: str) -> None:
    (view,) = (view for view in VIEWS if view.name == name)
    await rebuild(Source(url, MASTER_KEYS), view, lambda _: None)


if __name__ == "__main__":
    asyncio.run(_rebuild(sys.argv[1], sys.argv[2]))
    peaks = [
        resource.getrusage(scope).ru_maxrss for scope in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    sys.stdout.write(f"{max(peaks) / 1024}\n")

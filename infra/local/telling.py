"""Tells the story beside the supervision: in a thread, so that what dies meanwhile is started again."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from infra.local.story import Story
from infra.local.transcript import CameOutWrong, Transcript


class Telling:
    """One telling of the story, begun at once."""

    def __init__(self, stack: Mapping[str, Any], run_dir: Path, console: Console) -> None:
        self.came_out_right = False
        self._console = console
        self._transcript = Transcript(console)
        self._story = Story(stack, run_dir, self._transcript)
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._story.tell())
        self._thread = threading.Thread(target=self._run, name="story", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Break it off; what it changed at the home library is put back."""
        if not self.ended:
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(timeout=2)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            return
        except CameOutWrong as wrong:
            self._complain(str(wrong))
        except Exception as error:  # whatever it is, the stack stays up and says so
            self._complain(f"{type(error).__name__}: {error}")
        else:
            self.came_out_right = True
            self._console.print(
                f"\n[bold green]The story came out right[/]: {self._transcript.checked} checks."
            )
        finally:
            self._loop.close()

    def _complain(self, why: str) -> None:
        self._console.print("\n[bold red]The story came out wrong[/]")
        self._console.print(why, style="red", markup=False)

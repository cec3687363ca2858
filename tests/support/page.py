"""A page of docs/ whose commands are run as they stand there, in order, in one shell."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import psutil

from infra.local.processes import alive
from tests.support.eventually import until


@dataclass
class Step:
    """Commands of the page, and the lines that it shows as their output."""

    commands: str
    shown: list[str] = field(default_factory=list)


def steps_of(page: str) -> list[Step]:
    """The code blocks of a page: `sh` is run, `text` is what the block before it prints."""
    steps: list[Step] = []
    blocks = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", page, re.MULTILINE | re.DOTALL)
    for _, language, indented in blocks:
        content = dedent(indented)
        if language == "sh":
            steps.append(Step(content))
        else:
            assert language == "text", f"a code block of the page is neither sh nor text: {language!r}"
            assert steps, "the page shows an output before its first command"
            steps[-1].shown = content.splitlines()
    return steps


def agrees(shown: list[str], printed: str) -> bool:
    """Whether the output is what the page shows; `…` is any text, on a line of its own any lines."""
    lines = [r"(?:.*\n)*?" if line == "…" else _one_line(line) for line in shown]
    return (
        re.search("^" + "".join(lines), re.sub(r"[ \t]+$", "", printed, flags=re.M) + "\n", re.M) is not None
    )


def _one_line(line: str) -> str:
    pieces = [r"\s+".join(re.escape(word) for word in re.split(r"\s+", part)) for part in line.split("…")]
    return ".*?".join(pieces) + r"\n"


class Shell:
    """One shell in which blocks run one after the other; it ends at the first command that fails."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._blocks = folder, 0
        self.process = subprocess.Popen(
            ["/bin/sh", "-eu"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, commands: str) -> str:
        """The output of a block. Raises AssertionError with it when a command failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._blocks += 1
        block, end = self._folder / f"block-{self._blocks}", f"end of block {self._blocks}\n"
        block.write_text(commands, "utf-8")
        self.process.stdin.write(f". {block} < /dev/null; echo {end}")
        self.process.stdin.flush()
        printed = ""
        while not printed.endswith(end):
            line = self.process.stdout.readline()
            assert line, f"a command of the page failed:\n{commands}\nIt printed:\n{printed}\n{self._logs()}"
            printed += line
        return printed.removesuffix(end)

    def _logs(self) -> str:
        logs = sorted(self._folder.glob("logs/*.log"))
        return "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in logs)

    def close(self) -> None:
        """End it, and all that it started."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        for process in family:
            process.terminate()
        assert self.process.stdin is not None
        self.process.stdin.close()
        until(lambda: not alive(family), within=20)
        self.process.wait(timeout=20)
        if self.process.stdout is not None:
            self.process.stdout.close()


def run_all(shell: Shell, page: str) -> None:
    """Run the commands of a page, or of a part of it; each must print what the page shows."""
    for step in steps_of(page):
        printed = shell.run(step.commands)
        assert agrees(step.shown, printed), f"{step.commands}\nprints:\n{printed}\nnot what the page shows"

"""`doctor`: every setting with its source, every dependency checked step by step, and what to do."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from shared.cli.output import show_json, show_table
from shared.cli.running import in_loop
from shared.settings import ServiceSettings, SettingShown, SettingsWrong, shown

S = TypeVar("S", bound=ServiceSettings)
STEP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """One check. `check` says what it found, or raises; `advice` is what to do then.

    `vital` False: the service works without it, only worse.
    """

    name: str
    check: Callable[[], Awaitable[str]]
    advice: str
    vital: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """How one step went."""

    step: str
    ok: bool
    vital: bool
    found: str
    advice: str


def diagnose(kind: type[S], steps_for: Callable[[S], Sequence[Step]], *, as_json: bool) -> bool:
    """Examine the service with its settings, print it all; whether everything vital is well."""
    try:
        findings = in_loop(examine(steps_for(kind.from_environment())))
    except SettingsWrong as error:
        findings = [Finding("settings", ok=False, vital=True, found=str(error), advice="")]
    return report(kind, findings, as_json=as_json)


async def examine(steps: Sequence[Step]) -> list[Finding]:
    """Every step, one after the other, whatever the ones before it found."""
    return [await _examined(step) for step in steps]


async def _examined(step: Step) -> Finding:
    try:
        async with asyncio.timeout(STEP_SECONDS):
            return Finding(step.name, ok=True, vital=step.vital, found=await step.check(), advice="")
    except TimeoutError:
        found = f"no answer within {STEP_SECONDS:.0f} s"
    except Exception as error:
        found = " ".join(f"{type(error).__name__}: {error}".split())
    return Finding(step.name, ok=False, vital=step.vital, found=found, advice=step.advice)


def report(kind: type[ServiceSettings], findings: Sequence[Finding], *, as_json: bool) -> bool:
    """Print it all; whether everything vital is well."""
    settings = shown(kind)
    well = all(finding.ok or not finding.vital for finding in findings)
    if as_json:
        checks = [asdict(finding) for finding in findings]
        show_json({"ok": well, "settings": [asdict(setting) for setting in settings], "checks": checks})
        return well
    show_table(("setting", "value", "from"), [_setting(each) for each in settings])
    show_table(("", "check", "found", "what to do"), [_finding(each) for each in findings], title="")
    return well


def _setting(setting: SettingShown) -> tuple[str, str, str]:
    return setting.name, setting.value, setting.source


def _finding(finding: Finding) -> tuple[str, str, str, str]:
    mark = "ok" if finding.ok else ("FAILS" if finding.vital else "warning")
    return mark, finding.step, finding.found, finding.advice

"""The architecture, as sentences that can fail."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("registration", "identity")
CODE_FOLDERS = ("services", "shared", "infra", "tests")
LONGEST_FUNCTION = 40  # lines


def modules_below(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imported_by(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


@pytest.mark.parametrize("service", SERVICES)
def test_the_domain_imports_only_the_standard_library_and_the_librarys_domain(service: str) -> None:
    domain = ROOT / "services" / service / "domain"
    allowed = {
        "eventsourcing.domain",  # aggregates and events
        "eventsourcing.utils",  # their topics
        "shared.kernel.amsterdam",
        "shared.kernel.library_card",
        "shared.kernel.errors",
    }
    foreign = {
        f"{module.name}: {name}"
        for module in modules_below(domain)
        for name in imported_by(module)
        if name not in allowed
        and name.split(".")[0] not in sys.stdlib_module_names
        and not name.startswith(f"{service}.domain")
    }
    assert foreign == set()
    assert any(modules_below(domain)), "a domain without modules proves nothing"


def test_the_services_mirror_each_other() -> None:
    one, other = (
        {path.name for path in (ROOT / "services" / service).iterdir() if (path / "__init__.py").exists()}
        for service in SERVICES
    )
    assert {"domain", "application", "adapters", "api"} <= one & other
    entry_points = {"service_handle.py", "worker.py", "bootstrap.py", "settings.py"}
    for service in SERVICES:
        present = {path.name for path in (ROOT / "services" / service).glob("*.py")}
        assert entry_points <= present, f"{service} lacks {entry_points - present}"


def functions_of(module: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_function_is_longer_than_forty_lines() -> None:
    assert [
        f"{module.relative_to(ROOT)}: {name} has {lines} lines"
        for folder in CODE_FOLDERS
        for module in modules_below(ROOT / folder)
        for name, lines in functions_of(module)
        if lines > LONGEST_FUNCTION
    ] == []


def test_no_module_is_named_for_nothing() -> None:
    empty_names = {"utils.py", "helpers.py", "manager.py", "base.py", "misc.py", "common.py"}
    assert [
        str(module)
        for folder in CODE_FOLDERS
        for module in modules_below(ROOT / folder)
        if module.name in empty_names
    ] == []


def test_only_the_composition_roots_build_real_things() -> None:
    """No pool, connection or client is made anywhere else in a service."""
    builders = re.compile(r"\b(open_pool|create_pool|connect_robust|AsyncClient)\(")
    allowed = {"bootstrap.py", "main.py"}  # the composition root and the command line
    assert [
        f"{module.relative_to(ROOT)}: {found.group(0)}"
        for service in SERVICES
        for module in modules_below(ROOT / "services" / service)
        if module.name not in allowed
        for found in builders.finditer(module.read_text(encoding="utf-8"))
    ] == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_a_lock_names_no_address_and_pins_every_package_with_hashes(name: str) -> None:
    lock = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in lock
    packages = re.findall(r"^[a-z0-9][^\s=]*==\S+.*$", lock, flags=re.MULTILINE)
    assert len(packages) > 30
    for block in re.split(r"\n(?=[a-z0-9])", lock.strip()):
        assert "--hash=sha256:" in block, block.splitlines()[0]

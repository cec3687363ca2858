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
MOST_MODULES = 287


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
        "shared.kernel.text",
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


ROLES = {
    "settings from the environment": "settings.py",
    "composition root": "bootstrap.py",
    "worker": "worker.py",
    "what the common commands know of the service": "service_handle.py",
    "command line": "cli/main.py",
    "reports from the read models": "cli/reports.py",
    "broken rules": "domain/errors.py",
    "what the use cases depend on": "application/dependencies.py",
    "loading and saving aggregates": "application/repository.py",
    "the handler of the inbox": "application/receive_message.py",
    "finding a login account": "application/find_login_account.py",
    "erasing a guest": "application/erase_guest.py",
    "applying the retention period": "application/apply_retention.py",
    "all tables of the database": "adapters/tables.py",
    "published messages": "adapters/messages.py",
    "adapters without network or database": "adapters/in_memory.py",
    "the HTTP app": "api/app.py",
    "what routes depend on": "api/dependencies.py",
    "problems of the API": "api/problems.py",
    "JSON bodies": "api/schemas.py",
    "routes of login accounts": "api/login_accounts.py",
    "all read models": "read_models/__init__.py",
}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_the_same_file_in_both_services(role: str, service: str) -> None:
    assert (ROOT / "services" / service / ROLES[role]).is_file()


def test_there_are_no_more_rooms_than_one_can_remember() -> None:
    modules = [
        str(module.relative_to(ROOT))
        for folder in ("services", "shared")
        for module in modules_below(ROOT / folder)
        if module.name != "__init__.py"
    ]
    assert len(modules) <= MOST_MODULES


def test_no_condition_is_planned_for_values_that_are_not_given() -> None:
    """A statement is planned once for all values (ADR 0037): `fitting` leaves out what is not asked for."""
    optional = re.compile(r"\$\d+(::[\w\[\]]+)? IS NULL\s+OR\b|\bOR\s+\$\d+(::[\w\[\]]+)? IS NULL")
    modules = [module for folder in ("services", "shared") for module in modules_below(ROOT / folder)]
    found = {
        f"{module.relative_to(ROOT)}: {match[0]}"
        for module in modules
        for match in optional.finditer(module.read_text(encoding="utf-8"))
    }
    assert found == set()


def test_what_is_shared_names_no_service_and_no_guest() -> None:
    """`shared` speaks of subjects and streams. Columns, URLs and JSON keys are strings, and fixed."""
    foreign = re.compile(r"guest|registration|identity", re.IGNORECASE)
    allowed = {"of_guest", "guest_id"}  # the route `/v1/feed/guests/{guest_id}`: its names are in OpenAPI
    assert {
        f"{module.relative_to(ROOT)}: {name}"
        for module in modules_below(ROOT / "shared")
        for name in names_in(module)
        if foreign.search(name) and name not in allowed
    } == set()


def names_in(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name


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
    builders = re.compile(r"\b(open_pool|create_pool|connect_robust|AsyncClient|HttpClient)\(")
    allowed = {"bootstrap.py", "main.py"}  # the composition root and the command line
    assert [
        f"{module.relative_to(ROOT)}: {found.group(0)}"
        for service in SERVICES
        for module in modules_below(ROOT / "services" / service)
        if module.name not in allowed
        for found in builders.finditer(module.read_text(encoding="utf-8"))
    ] == []


def test_every_call_over_http_is_bounded() -> None:
    """Only `shared/platform/http_client.py` makes a client of its own: one that limits bytes and seconds."""
    unbounded = re.compile(r"\b(httpx2\.(AsyncClient|Client|get|post|stream)|urlopen|AsyncOAuth2Client)\(")
    assert [
        f"{module.relative_to(ROOT)}: {found.group(0)}"
        for folder in ("services", "shared")
        for module in modules_below(ROOT / folder)
        for found in unbounded.finditer(module.read_text(encoding="utf-8"))
    ] == []


@pytest.mark.parametrize(
    ("name", "at_least"),
    [("requirements.txt", 30), ("requirements-dev.txt", 60), ("requirements-build.txt", 5)],
)
def test_a_lock_names_no_address_and_pins_every_package_with_hashes(name: str, at_least: int) -> None:
    lock = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in lock
    packages = re.findall(r"^[a-z0-9][^\s=]*==\S+.*$", lock, flags=re.MULTILINE)
    assert len(packages) >= at_least
    for block in re.split(r"\n(?=[a-z0-9])", lock.strip()):
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_commands_print_through_the_module_that_makes_text_harmless() -> None:
    """What a command prints may come from a message, a clerk or a home library."""
    printing = re.compile(r"typer\.echo\(|(?<![\w.])print\(|sys\.stdout\.write\(")
    assert [
        str(module.relative_to(ROOT))
        for folder in (ROOT / "shared", *(ROOT / "services" / service for service in SERVICES))
        for module in modules_below(folder)
        if printing.search(module.read_text(encoding="utf-8"))
    ] == ["shared/cli/console.py"]


def test_a_connection_of_the_pool_keeps_nothing_of_the_one_who_had_it() -> None:
    """The pool does not clean a connection that comes back, so nobody may change a session on it."""
    of_the_session = re.compile(r"""["']SET (?!LOCAL)|SELECT pg_advisory_lock\(|await \w+\.add_listener\(""")
    assert {
        str(module.relative_to(ROOT))
        for folder in ("services", "shared")
        for module in modules_below(ROOT / folder)
        if of_the_session.search(module.read_text(encoding="utf-8"))
    } == {
        "shared/cli/database_sessions.py",  # its own connections, closed afterwards
        "shared/event_log/notifier.py",  # held, and closed afterwards
        "shared/platform/postgres.py",  # the connection of the migrations
        "shared/projections/rebuild.py",  # its own connection, closed afterwards
    }

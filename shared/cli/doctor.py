"""The command `doctor`: shows all settings with their source, checks all dependencies, advises what to do."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from shared.cli.console import show_json, show_table
from shared.cli.running import in_loop, text_of
from shared.cli.service_handle import database_of
from shared.kernel.errors import ConfigurationError

if TYPE_CHECKING:
    import asyncpg

    from shared.configuration.files import SettingsFile
    from shared.platform.postgres import Script
    from shared.platform.settings import ServiceSettings, SettingShown
    from shared.projections import View

S = TypeVar("S", bound="ServiceSettings")
STEP_SECONDS = 5.0
"""Time limit of one check."""


@dataclass(frozen=True, slots=True)
class Step:
    """One check. `check` returns what it found, or raises; `advice` is what the operator then does.

    `vital` False: without it a part of the service still works.
    """

    name: str
    check: Callable[[], Awaitable[str]]
    advice: str
    vital: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one step. `advice` is empty when it succeeded."""

    step: str
    ok: bool
    vital: bool
    found: str
    advice: str


def diagnose(kind: type[S], steps_for: Callable[[S], Sequence[Step]], *, as_json: bool) -> bool:
    """Read the settings, run the steps, print the report; return whether all vital steps succeeded."""
    try:
        with _without_log_lines(kind):
            findings = in_loop(examine(steps_for(kind.from_environment())))
    except ConfigurationError as error:
        findings = [Finding("settings", ok=False, vital=True, found=str(error), advice="")]
    return report(kind, findings, as_json=as_json)


@contextmanager
def _without_log_lines(kind: type[ServiceSettings]) -> Iterator[None]:
    """Write no log lines: the report names what failed, and standard output may be read as JSON."""
    import logging  # noqa: PLC0415

    from shared.platform.logging import configure_logging  # noqa: PLC0415

    configure_logging(kind.prefix().rstrip("_").lower(), "CRITICAL")
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


async def examine(steps: Sequence[Step]) -> list[Finding]:
    """Run all steps one after the other, also after a failure."""
    return [await _examined(step) for step in steps]


async def _examined(step: Step) -> Finding:
    import asyncio  # noqa: PLC0415

    try:
        async with asyncio.timeout(STEP_SECONDS):
            return Finding(step.name, ok=True, vital=step.vital, found=await step.check(), advice="")
    except TimeoutError:
        found = f"no reply within {STEP_SECONDS:.0f} s"
    except Exception as error:
        found = f"{type(error).__name__}: {text_of(error)}"
    return Finding(step.name, ok=False, vital=step.vital, found=found, advice=step.advice)


def report(kind: type[ServiceSettings], findings: Sequence[Finding], *, as_json: bool) -> bool:
    """Print the settings and the findings; return whether all vital steps succeeded."""
    from shared.platform.settings import shown  # noqa: PLC0415

    settings = shown(kind)
    ok = all(finding.ok or not finding.vital for finding in findings)
    if as_json:
        checks = [asdict(finding) for finding in findings]
        show_json({"ok": ok, "settings": [asdict(setting) for setting in settings], "checks": checks})
        return ok
    show_table(("setting", "value", "from"), [_setting(setting) for setting in settings])
    show_table(("", "check", "found", "what to do"), [_finding(finding) for finding in findings], title="")
    return ok


def _setting(setting: SettingShown) -> tuple[str, str, str]:
    return setting.name, setting.value, setting.source


def _finding(finding: Finding) -> tuple[str, str, str, str]:
    mark = "ok" if finding.ok else ("FAILS" if finding.vital else "warning")
    return mark, finding.step, finding.found, finding.advice


COULD_REWRITE = """
SELECT string_agg(name, ', ' ORDER BY name) FROM unnest($1::text[]) AS name
 WHERE pg_has_role((SELECT relowner FROM pg_class WHERE oid = name::regclass), 'MEMBER')
    OR has_table_privilege(name, 'UPDATE, DELETE, TRUNCATE')
"""


def database(settings: ServiceSettings, schema: Sequence[Script], service: str) -> list[Step]:
    """Return the steps that connect to the database, and check its schema and the service's role."""
    prefix = type(settings).prefix()

    async def connects() -> str:
        async with _connection(settings) as connection:
            return f"PostgreSQL {await connection.fetchval('SHOW server_version')}"

    async def is_up_to_date() -> str:
        async with _connection(settings) as connection:
            known = {row["name"] for row in await connection.fetch("SELECT name FROM schema_migrations")}
        if missing := [script.name for script in schema if script.name not in known]:
            raise LookupError(f"not applied yet: {', '.join(missing)}")
        return f"{len(schema)} scripts applied"

    async def can_only_append() -> str:
        async with _connection(settings) as connection:
            role = await connection.fetchval("SELECT current_user")
            if tables := await connection.fetchval(COULD_REWRITE, ["stored_events", "erasures"]):
                raise PermissionError(f"the service's role {role} could rewrite history ({tables})")
        return f"{role} can only append to the log"

    return [
        Step("database", connects, f"start PostgreSQL, or correct {prefix}DATABASE_URL"),
        *_database_servers(settings),
        _database_disk(settings),
        _database_sessions(settings),
        Step("schema", is_up_to_date, f"run `{service} migrate`"),
        Step(
            "database role",
            can_only_append,
            f"make three roles, set {prefix}OWNER_DATABASE_URL, run `{service} migrate`: see docs/runbook.md",
            vital=False,
        ),
    ]


def _database_servers(settings: ServiceSettings) -> list[Step]:
    url = settings.database_url.get_secret_value()

    async def one_takes_writes() -> str:
        from shared.cli.database_servers import require_one_primary  # noqa: PLC0415

        return await require_one_primary(url)

    async def others_follow() -> str:
        from shared.cli.database_servers import require_standbys  # noqa: PLC0415

        return await require_standbys(url)

    advice = "see docs/runbook.md, `A server of PostgreSQL is lost`"
    return [
        Step("database primary", one_takes_writes, advice),
        Step("database standbys", others_follow, advice, vital=False),
    ]


def _database_disk(settings: ServiceSettings) -> Step:
    async def can_be_written() -> str:
        from shared.platform.postgres import WRITE  # noqa: PLC0415

        async with _connection(settings) as connection:
            await connection.execute(WRITE)
        return "temporary files and the write-ahead log can be written"

    return Step("database disk", can_be_written, "make room on the disk of PostgreSQL")


def _database_sessions(settings: ServiceSettings) -> Step:
    async def are_kept() -> str:
        from shared.cli.database_sessions import keep_sessions  # noqa: PLC0415

        return await keep_sessions(settings.database_url.get_secret_value())

    variable = f"{type(settings).prefix()}DATABASE_URL"
    advice = f"let {variable} name PostgreSQL, or a pooler in session mode: see docs/runbook.md"
    return Step("database sessions", are_kept, advice)


def views(settings: ServiceSettings, all_views: Sequence[View], service: str) -> Step:
    """Return the step that looks for a view that has stopped. It is not vital: all else goes on."""

    async def none_has_stopped() -> str:
        from shared.projections.live import require_live  # noqa: PLC0415

        async with _connection(settings) as connection:
            await require_live(connection, all_views)
        return f"{len(all_views)}, none has failed"

    advice = f"`{service} projections status` shows the event; the view goes on by itself once it can"
    return Step("views", none_has_stopped, advice, vital=False)


@asynccontextmanager
async def _connection(settings: ServiceSettings) -> AsyncIterator[asyncpg.Connection]:
    from shared.platform.postgres import SERVER_SETTINGS, connect  # noqa: PLC0415

    connection = await connect(settings.database_url.get_secret_value(), SERVER_SETTINGS)
    try:
        yield connection
    finally:
        await connection.close()


def files(settings: ServiceSettings) -> list[Step]:
    """Return the steps that read the key and token files and check the modes and the erasure ledger."""
    prefix = type(settings).prefix()

    async def master_keys() -> str:
        return _keys(settings.master_key_file)

    async def person_ref_key() -> str:
        return _keys(settings.person_ref_key_file)

    async def service_token() -> str:
        return await _service_token(settings)

    async def secret_files() -> str:
        return _private(settings)

    async def erasure_ledger() -> str:
        return _ledger(settings.erasure_ledger)

    return [
        Step(
            "master keys",
            master_keys,
            f"create {prefix}MASTER_KEY_FILE: one line with 32 random bytes in base64",
        ),
        Step(
            "person_ref key",
            person_ref_key,
            f"create {prefix}PERSON_REF_KEY_FILE: like the master keys, but the same key for both services",
        ),
        Step(
            "service token",
            service_token,
            _token_advice(settings),
        ),
        Step("secret files", secret_files, "run `chmod 600` on these files", vital=False),
        Step("erasure ledger", erasure_ledger, f"make the folder of {prefix}ERASURE_LEDGER writable"),
    ]


async def _service_token(settings: ServiceSettings) -> str:
    from shared.web.service_token import ClientToken, service_token, token_client  # noqa: PLC0415

    if (client := token_client(settings)) is not None:
        fetched = await ClientToken(client).fetch()
        return f"fetched as {client.client_id}, it lives {fetched.life:.0f} seconds"
    async with service_token(settings) as token:
        return f"{len(await token())} characters"


def _token_advice(settings: ServiceSettings) -> str:
    prefix = type(settings).prefix()
    if settings.service_client_id is None:
        return f"put a token for the other service into {prefix}SERVICE_TOKEN_FILE"
    return (
        f"correct {prefix}SERVICE_CLIENT_… and {prefix}SERVICE_TOKEN_…, and what the sign-in service says of"
        f" the client {settings.service_client_id}: see docs/connect-a-sign-in-service.md"
    )


def _ledger(path: Path | None) -> str:
    if path is None:
        return "none: a restored backup brings erased personal data back"
    folder = next(parent for parent in path.parents if parent.exists())
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise PermissionError(f"{path} cannot be written")
    return str(path)


def _private(settings: ServiceSettings) -> str:
    from shared.platform.secrets import readable_by_others  # noqa: PLC0415

    kind = type(settings)
    named = [getattr(settings, name) for name in kind.model_fields if name.endswith("_file")]
    secret = [path for path in (*named, kind.env_file()) if path is not None]
    if found := readable_by_others(secret):
        raise PermissionError(f"the group or other users can read {', '.join(found)}")
    return "only their owner can read them"


def _keys(path: Path) -> str:
    from shared.platform.secrets import read_key_file  # noqa: PLC0415

    return f"{len(read_key_file(path))} key(s) in {path}"


def configuration(settings: ServiceSettings, files: Callable[[], Mapping[str, SettingsFile]]) -> list[Step]:
    """Return the steps that read the files of settings, and look if all processes use what they hold."""
    service = type(settings).prefix().rstrip("_").lower()

    async def are_valid() -> str:
        from shared.configuration.files import read_together  # noqa: PLC0415

        found = files()
        tables = len(read_together(found).settings)
        return f"{tables} tables in {', '.join(str(file.path) for file in found.values())}"

    async def are_used() -> str:
        from shared.configuration.operating import FilesInUse  # noqa: PLC0415

        async with database_of(settings) as pool:
            return await FilesInUse(pool, files).require_used()

    return [
        Step("settings files", are_valid, f"correct them: `{service} config check` shows each mistake"),
        Step(
            "settings in use",
            are_used,
            f"see `{service} config status`; `{service} config reload` makes all processes take the files",
            vital=False,
        ),
    ]


def sign_in(settings: ServiceSettings) -> list[Step]:
    """Return the steps that read the issuer's keys as a token check does, and what its groups stand for."""

    async def keys() -> str:
        from shared.platform.http_client import HttpClient  # noqa: PLC0415
        from shared.web.security import keys_of  # noqa: PLC0415

        async with HttpClient() as http:
            await keys_of(settings.oidc_issuer, settings.oidc_jwks, http).ready()
        return settings.oidc_jwks or settings.oidc_issuer

    async def own_token() -> str:
        return await _own_token(settings)

    async def groups() -> str:
        from shared.web.issuer import claim_names  # noqa: PLC0415

        return ", ".join(claim_names(settings).meaning) or "none"

    prefix = type(settings).prefix()
    return [
        Step("sign-in keys", keys, f"correct {prefix}OIDC_ISSUER or {prefix}OIDC_JWKS"),
        Step(
            "tokens",
            own_token,
            f"correct {prefix}OIDC_ISSUER; or {_token_advice(settings)}",
            vital=False,
        ),
        Step("groups", groups, f"correct the file {prefix}OIDC_GROUPS"),
    ]


async def _own_token(settings: ServiceSettings) -> str:
    """Check our own token as the other service does, which has the same issuer, but for its audience."""
    from shared.platform.http_client import HttpClient  # noqa: PLC0415
    from shared.web.security import keys_of, token_verifier  # noqa: PLC0415
    from shared.web.service_token import service_token  # noqa: PLC0415

    async with HttpClient() as http, service_token(settings) as token:
        keys = keys_of(settings.oidc_issuer, settings.oidc_jwks, http)
        caller = await token_verifier(settings, keys, any_audience=True).verify(await token())
    return f"the token of {caller.subject} counts"


def broker(settings: ServiceSettings, service: str) -> list[Step]:
    """Return the steps that look at RabbitMQ, if that is the transport: from here, and as workers see it."""
    if settings.amqp_url is None:
        return [Step("broker", _no_broker, "")]
    from shared.platform.addresses import broker_addresses, place_of  # noqa: PLC0415

    urls, prefix = settings.amqp_url.get_secret_value(), type(settings).prefix()
    nodes = broker_addresses(urls)

    async def are_declared() -> str:
        from shared.messaging.broker_connection import open_connection  # noqa: PLC0415
        from shared.messaging.exchanges import differences  # noqa: PLC0415

        async with open_connection(urls) as connection:
            missing, otherwise = await differences(connection, service)
        if otherwise:
            raise LookupError("; ".join(otherwise))
        return f"not there yet: {', '.join(missing)}" if missing else "as the worker declares them"

    advice = f"start RabbitMQ, or correct {prefix}AMQP_URL"
    return [
        Step("broker", partial(_nodes, nodes, service), advice),
        *(
            Step(f"broker node {place_of(node)}", partial(_node, node), advice, vital=False)
            for node in nodes
            if len(nodes) > 1
        ),
        Step(
            "queues",
            are_declared,
            "delete what was declared otherwise: the worker declares it again, the feed has its messages",
        ),
        Step("messages", partial(_messages, settings), "see docs/runbook.md, `Messages do not move`"),
    ]


async def _node(address: str) -> str:
    from shared.messaging.broker_connection import node_at  # noqa: PLC0415

    return f"connected, {await node_at(address)}"


async def _nodes(addresses: Sequence[str], service: str) -> str:
    from shared.messaging.broker_connection import usable_nodes  # noqa: PLC0415

    usable = await usable_nodes(addresses, service)
    return "connected" if len(addresses) == 1 else f"connected to {usable} of {len(addresses)} nodes"


async def _messages(settings: ServiceSettings) -> str:
    """Return how far the relay is. Raises BrokerFaulty with what the workers find wrong at the broker."""
    from shared.messaging.broker_faults import BrokerFaulty, faults_of  # noqa: PLC0415
    from shared.messaging.queues import relay_lag  # noqa: PLC0415

    async with _connection(settings) as connection:
        found, lag = await faults_of(connection), await relay_lag(connection)
    behind = f"the relay is {lag} events behind"
    if found:
        texts = [f"{fault.name} since {fault.since:%Y-%m-%d %H:%M:%S %Z}: {fault.reason}" for fault in found]
        raise BrokerFaulty("; ".join([*texts, behind]))
    return f"the workers find no fault; {behind}"


async def _no_broker() -> str:
    return "none: messages travel over the feed"


def message_keys(settings: ServiceSettings) -> Step:
    """Return the step that reads the keys that sign and verify messages, if RabbitMQ is the transport."""

    async def reads() -> str:
        if settings.amqp_url is None:
            return "none needed: the feed is the transport"
        from shared.messaging.signing import message_keys as read  # noqa: PLC0415

        read(settings)
        return f"{settings.signing_key_file} signs, {settings.verification_key_file} verifies"

    prefix = type(settings).prefix()
    advice = f"create {prefix}SIGNING_KEY_FILE and {prefix}VERIFICATION_KEY_FILE: 32 bytes in base64 each"
    return Step("message keys", reads, advice)


def other_log(settings: ServiceSettings, other: str, advice: str) -> Step:
    """Return the step that looks whether the other service's log ends before what was seen of it."""

    async def has_all() -> str:
        from shared.messaging.other_log import OtherLogBehind, lost_end  # noqa: PLC0415

        async with _connection(settings) as connection:
            found = await lost_end(connection)
        if found is not None:
            raise OtherLogBehind(found.text)
        return "it has all that was seen of it"

    return Step(f"log of {other}", has_all, advice, vital=False)


def other_service(name: str, url: str) -> Step:
    """Return the step that asks whether the other service is live. It is not vital."""

    async def answers() -> str:
        from shared.platform.http_client import HttpClient  # noqa: PLC0415

        async with HttpClient() as http:
            response = await http.get(url.rstrip("/") + "/health/live", timeout=3)
        response.raise_for_status()
        return url

    return Step(name, answers, f"start {name}, or correct the setting …_{name.upper()}_URL", vital=False)

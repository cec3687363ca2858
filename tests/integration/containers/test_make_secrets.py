"""`make secrets`: containers can read what they need, other users nothing, and nothing is replaced."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from infra.docker.secrets import SERVER_USER, SERVICE_USER, create, main, secret_files
from shared.platform.database_hosts import Host, hosts_of, require_primary

ROOT = Path(__file__).parents[3]
STRANGER = 23456


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def reads(user: int, path: Path) -> bool:
    """Whether a process of this user can read the file. Our own Python may be where others cannot go."""
    command = ["/bin/cat", str(path)]
    done = subprocess.run(command, user=user, group=user, extra_groups=[], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that other users can go into, as /srv is."""
    for path in (tmp_path, *tmp_path.parents[:3]):
        path.chmod(0o755)
    return tmp_path


def test_the_command_creates_all_says_what_is_left_and_changes_nothing_afterwards(folder: Path) -> None:
    def runs() -> list[str]:
        program = "import infra.docker.secrets as it; it.main()"
        imported = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}"
        command = [sys.executable, "-I", "-S", "-c", imported, "--root", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, umask=0o077)
        return done.stdout.splitlines()

    first = runs()  # without any package: a host has only Python
    before = contents(folder)
    assert len([line for line in first if line.startswith("created ")]) == len(before)
    assert len({value for name, value in before.items() if name.endswith(("_key", "_password"))}) == 5 + 9
    left = runs()
    assert [line.split(": ")[:2] for line in left] == [
        ["to do", "secrets/registration_service_token"],
        ["to do", "secrets/identity_service_token"],
        ["to do", ".env"],
    ]
    assert contents(folder) == before
    for name in ("registration_service_token", "identity_service_token"):
        (folder / "secrets" / name).write_text("token")
    (folder / ".env").write_text("OIDC_ISSUER=https://sign-in.example.org")
    (folder / "secrets" / "registration.env").unlink()
    assert runs() == ["created secrets/registration.env"], "what is missing is made again, from what is there"
    again = contents(folder)
    assert again["secrets/registration.env"] == before["secrets/registration.env"]
    assert (again[".env"], again["secrets/identity_service_token"]) == (
        b"OIDC_ISSUER=https://sign-in.example.org",
        b"token",
    )


def test_the_addresses_have_the_passwords_that_the_servers_get(folder: Path) -> None:
    for _ in create(folder, may_give_away=False, owner=os.getuid()):
        pass
    secret = {
        name.removeprefix("secrets/"): value.decode().strip() for name, value in contents(folder).items()
    }
    for service in ("registration", "identity"):
        assert f":{secret[f'{service}_database_password']}@postgres/{service}" in secret[f"{service}.env"]
        assert f":{secret[f'{service}_broker_password']}@rabbitmq/" in secret[f"{service}.env"]
        owner = f"{service}_owner:{secret[f'{service}_owner_password']}@postgres/{service}"
        assert owner in secret[f"{service}_owner.env"]
        assert f'"name": "{service}"' in secret["rabbitmq_definitions.json"]


@pytest.mark.parametrize("may_give_away", [True, False], ids=["root", "not root"])
def test_containers_read_what_they_need_and_local_users_read_nothing(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, may_give_away: bool
) -> None:
    """A hard link beside the folder is what a mount is: it leads to the file past the folder."""
    if may_give_away and os.geteuid() != 0:
        may_give_away = False  # the machine's user is the one who may not
    for _ in create(folder, may_give_away=may_give_away, owner=os.getuid()):
        pass
    mounts = folder / "mounts"
    mounts.mkdir(mode=0o755)
    assert stat.S_IMODE((folder / "secrets").stat().st_mode) == 0o700
    for file in secret_files():
        path, mounted = folder / "secrets" / file.name, mounts / file.name
        os.link(path, mounted)
        if os.geteuid() != 0:
            assert stat.S_IMODE(path.stat().st_mode) == (0o444 if file.reader else 0o600)
            continue
        assert not reads(STRANGER, path), file.name
        for user in (SERVICE_USER, SERVER_USER):
            allowed = user == file.reader if may_give_away else file.reader is not None
            assert reads(user, mounted) == allowed, (file.name, user)
        assert reads(STRANGER, mounted) == (not may_give_away and file.reader is not None)
    assert reads(SERVICE_USER, folder / "config" / "organisations.toml") or os.geteuid() != 0
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600


def test_without_sudo_after_sudo_the_command_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where this runs as root: for a moment this process is a stranger."""
    for _ in create(folder, may_give_away=False, owner=os.getuid()):
        pass
    key = folder / "secrets" / "master_key"
    key.chmod(0)
    monkeypatch.setattr(sys, "argv", ["secrets", "--root", str(folder)])
    me, mask = os.geteuid(), os.umask(0o077)
    if me == 0:
        os.seteuid(STRANGER)
    try:
        with pytest.raises(SystemExit, match="run this with sudo, as the first time"):
            main()
    finally:
        os.seteuid(me)
        os.umask(mask)
    assert key.stat().st_size > 0


def test_a_primary_and_its_standby_are_both_in_the_addresses(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["secrets", "--root", str(folder), "--postgres", "one:5433,two"])
    main()
    for file in ("registration.env", "registration_owner.env"):
        text = (folder / "secrets" / file).read_text()
        [address] = re.findall(r"DATABASE_URL=(\S+)", text)
        assert address.endswith("@one:5433,two/registration?target_session_attrs=read-write")
        assert hosts_of(address) == [Host("one", 5433), Host("two", 5432)]
        require_primary(address)


def test_servers_of_ones_own_are_in_the_addresses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ["--root", str(folder), "--postgres", "db.example:5433", "--rabbitmq", "[::1]:5673"]
    monkeypatch.setattr(sys, "argv", ["secrets", *own])
    main()
    for service in ("registration", "identity"):
        text = (folder / "secrets" / f"{service}.env").read_text()
        assert f"@db.example:5433/{service}\n" in text
        assert "@[::1]:5673/\n" in text
        assert f"@db.example:5433/{service}\n" in (folder / "secrets" / f"{service}_owner.env").read_text()
    monkeypatch.setattr(sys, "argv", ["secrets", "--root", str(folder), "--postgres", "db,other@x"])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2

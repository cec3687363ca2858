"""`doctor` of both services, where they have the same steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.installation import Installation


def finding(installed: Installation, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """What it says of the files with secrets. It is a warning: the service works."""
    capsys.readouterr()
    assert installed.run("doctor", "--json") == 0
    [found] = [
        check for check in json.loads(capsys.readouterr().out)["checks"] if check["step"] == "secret files"
    ]
    return dict(found)


@pytest.mark.parametrize("mode", [0o640, 0o604])
@pytest.mark.parametrize("setting", ["master_key_file", "service_token_file"])
def test_it_warns_of_a_secret_that_others_can_read(
    installed: Installation, capsys: pytest.CaptureFixture[str], setting: str, mode: int
) -> None:
    file: Path = getattr(installed.settings, setting)
    assert finding(installed, capsys)["ok"]
    file.chmod(mode)
    warned = finding(installed, capsys)
    assert (warned["ok"], warned["vital"]) == (False, False)
    assert f"{file} (mode {mode:03o})" in str(warned["found"])
    assert str(installed.settings.person_ref_key_file) not in str(warned["found"])
    assert "chmod 600" in str(warned["advice"])


def test_it_looks_at_every_setting_that_names_a_secret(
    installed: Installation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """And at the file of settings of a local stack, which holds passwords."""
    monkeypatch.setenv("RUN_DIR", str(tmp_path))
    names = [name for name in type(installed.settings).model_fields if name.endswith("_file")]
    assert {"signing_key_file", "verification_key_file"} < {*names}
    files = [tmp_path / f"of-{name}" for name in names]
    for name, file in zip(names, files, strict=True):
        file.write_bytes(installed.settings.master_key_file.read_bytes())
        monkeypatch.setenv(installed.variable(name), str(file))
    files.append(tmp_path / f"{installed.name}.env")
    files[-1].write_text("")
    for file in files:
        file.chmod(0o644)
    found = str(finding(installed, capsys)["found"])
    assert [file.name for file in files if str(file) not in found] == []

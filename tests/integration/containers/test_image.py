"""The steps of the Dockerfile, carried out as far as they go without Docker: in a folder, by this Python."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
IGNORED = (ROOT / ".dockerignore").read_text("utf-8").split()
Step = tuple[str, str]


def stages() -> list[list[Step]]:
    """The instructions of each stage, with continued lines joined and comments left out."""
    text = (ROOT / "infra/docker/Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    found: list[list[Step]] = []
    for line in joined:
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, rest))
    return found


class BuildStage:
    """A container whose root is a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.work = root, root
        programs = root / "programs"
        programs.mkdir()
        (programs / "python").symlink_to(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
        self.environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": ""}

    def work_in(self, folder: str) -> None:
        self.work = self.root / folder.lstrip("/")
        self.work.mkdir(parents=True)

    def copy(self, rest: str) -> None:
        """As COPY does: nothing that .dockerignore leaves out."""
        *sources, target = shlex.split(rest)
        for source in sources:
            assert source not in IGNORED
            to = self.work / target / (source if target == "./" else "")
            if (ROOT / source).is_dir():
                shutil.copytree(
                    ROOT / source, self.work / target, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(ROOT / source, to)

    def run(self, command: str) -> str:
        here = re.sub(r"(?<![\w./])/(build|opt)/", rf"{self.root}/\1/", command)
        done = subprocess.run(
            ["sh", "-c", here],
            cwd=self.work,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout


def with_packages_of_this_environment(stage: BuildStage, command: str) -> None:
    """In place of a step that installs locked packages: those that are here, and not this project itself."""
    if "/build/tools" in command and "requirements-build.txt" in command:
        pip = stage.work / "tools" / "bin" / "pip"
        pip.parent.mkdir(parents=True)
        pip.write_text(f'#!/bin/sh\nexec {sys.executable} -m pip "$@"\n')
        pip.chmod(0o755)
        return
    stage.run(command.partition("&&")[0])
    [packages] = (stage.root / "opt/landelijk-lenen/lib").glob("python3.*/site-packages")
    # A path in a .pth file is added as it is: the .pth file in it that leads to these sources is not read.
    (packages / "here.pth").write_text(sysconfig.get_path("purelib") + "\n")


def carry_out(steps: Sequence[Step], root: Path, *, installs_packages: bool) -> BuildStage:
    """Do all steps of the first stage."""
    stage = BuildStage(root)
    for name, rest in steps:
        match name:
            case "WORKDIR":
                stage.work_in(rest)
            case "COPY":
                stage.copy(rest)
            case "RUN" if "-r requirements" in rest and not installs_packages:
                with_packages_of_this_environment(stage, rest)
            case "RUN":
                stage.run(rest)
            case "FROM":
                pass
            case _:
                pytest.fail(f"nobody carried out {name}")
    return stage


def both_commands_run(stage: BuildStage) -> None:
    python = "/opt/landelijk-lenen/bin/python"
    for service in ("registration", "identity"):
        assert "migrate" in stage.run(f"/opt/landelijk-lenen/bin/{service} --help")
        module = stage.run(
            f"cd / && {python} -c 'import {service}.cli.main as it; print(it.__file__)'"
        ).strip()
        assert Path(module).is_relative_to(stage.root / "opt"), "not these sources"


def test_what_the_dockerfile_copies_is_enough_for_a_wheel_whose_commands_run(tmp_path: Path) -> None:
    stage = carry_out(stages()[0], tmp_path, installs_packages=False)
    both_commands_run(stage)
    [packages] = (tmp_path / "opt/landelijk-lenen/lib").glob("python3.*/site-packages")
    for source, installed in (
        ("services/registration", "registration"),
        ("services/identity", "identity"),
        ("shared", "shared"),
    ):
        files = {
            path.relative_to(ROOT / source)
            for path in (ROOT / source).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert [path for path in files if not (packages / installed / path).is_file()] == []


@pytest.mark.image
@pytest.mark.timeout(600)
def test_all_steps_with_the_locked_packages_leave_no_build_tools(tmp_path: Path) -> None:
    stage = carry_out(stages()[0], tmp_path, installs_packages=True)
    both_commands_run(stage)
    [packages] = (tmp_path / "opt/landelijk-lenen/lib").glob("python3.*/site-packages")
    installed = {path.name.partition("-")[0] for path in packages.glob("*.dist-info")}
    assert {"landelijk_lenen", "fastapi"} <= installed
    assert installed.isdisjoint({"pip", "setuptools", "wheel", "hatchling", "editables", "pluggy"})


def test_the_last_stage_has_certificates_a_user_a_command_and_no_installer() -> None:
    first, last = stages()
    text = "\n".join(" ".join(step) for step in last)
    for needed in (
        "ca-certificates",
        "pip uninstall",
        "COPY --from=build /opt/landelijk-lenen",
        "USER 10001",
        "CMD [",
    ):
        assert needed in text
    assert "COPY . " not in text
    names = [name for name, _ in first]
    requirements = next(place for place, step in enumerate(first) if "requirements.txt" in step[1])
    sources = first.index(("COPY", "services services"))
    installs = [
        place for place, (name, rest) in enumerate(first) if name == "RUN" and "-r requirements" in rest
    ]
    assert requirements < min(installs) <= max(installs) < sources, names
    assert {".git", "secrets", "config", ".env", "tests"} <= set(IGNORED), "never sent to the builder"

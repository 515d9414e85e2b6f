"""The files in examples/deploy: valid for their tools, and with commands that run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from configparser import RawConfigParser
from typing import TYPE_CHECKING, Any

import pytest
from cli_helpers import KEY, ROOT, run_command

from braze_segments_async.cli.runner import NOT_ALLOWED
from braze_segments_async.sandbox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

DEPLOY = ROOT / "examples" / "deploy"
WRONG_USE = 2
SIGTERM = 143
NIGHTS = [(0, ""), (0, ""), (NOT_ALLOWED, "")]


@pytest.fixture
def unit() -> RawConfigParser:
    """The service of systemd."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / "braze-segments.service")
    return parser


def cronjob() -> Any:
    """Return the CronJob of Kubernetes."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return list(yaml.safe_load_all((DEPLOY / "cronjob.yaml").read_text()))[1]


async def run_as_deployed(arguments: list[str], folder: Path) -> list[tuple[int | None, str]]:
    """Run a command of a deployment on two nights and with a refused key; return exit codes and output."""
    key = folder / "api-key"
    key.write_text(f"{KEY}\n")
    found = []
    async with Sandbox(3, api_key=KEY) as sandbox:
        for night in range(3):
            if night == 2:
                key.write_text("another-key\n")
            code, out, err = await run_command(sandbox, *arguments)
            found.append((code, out if code else out + err))
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about the service and the timer."""
    for path in DEPLOY.glob("braze-segments.*"):
        text = path.read_text().replace("/opt/braze/bin/braze-segments", "/bin/true")
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(  # noqa: S603 - see above
        [shutil.which("systemd-analyze") or "", "verify", *map(str, tmp_path.iterdir())],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_does_not_retry_in_vain(unit: RawConfigParser) -> None:
    """The service retries failures, except for wrong use and a refused key; SIGTERM is no failure."""
    service = unit["Service"]
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"].split() == [str(WRONG_USE), str(NOT_ALLOWED)]
    assert service["SuccessExitStatus"] == str(SIGTERM)


async def test_the_command_of_the_service(unit: RawConfigParser, tmp_path: Path) -> None:
    """The command of the service exports, replaces the file the next night, and exits 5 for a refused key."""
    command = re.sub(r"\$\{(?:STATE|CREDENTIALS)_DIRECTORY\}", str(tmp_path), unit["Service"]["ExecStart"])
    assert "${" not in command
    program, *arguments = shlex.split(command)
    assert program == "/opt/braze/bin/braze-segments"
    assert await run_as_deployed(arguments, tmp_path) == NIGHTS
    assert 'rows{workspace="segments"} 3.0' in (tmp_path / "braze.prom").read_text()


def test_kubernetes_accepts_the_cronjob() -> None:
    """The documents agree with the schemas of Kubernetes, without unknown fields; run by `make recipes`."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="run by make recipes")
    yaml = pytest.importorskip("yaml")
    for document in yaml.safe_load_all((DEPLOY / "cronjob.yaml").read_text()):
        assert kubernetes_validate.validate(document, "1.31", strict=True) == "1.31"


def test_the_cronjob_does_not_retry_in_vain() -> None:
    """The job fails at once for wrong use and a refused key, and does not count SIGTERM as an attempt."""
    rules = cronjob()["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    codes = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule}
    assert codes == {"Ignore": [SIGTERM], "FailJob": [WRONG_USE, NOT_ALLOWED]}


async def test_the_command_of_the_cronjob(tmp_path: Path) -> None:
    """The command of the container exports, replaces the file, and exits 5 for a refused key."""
    (container,) = cronjob()["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/data", "/run/secrets/braze"} <= mounts
    arguments = [re.sub(r"^(/data|/run/secrets/braze)/", f"{tmp_path}/", each) for each in container["args"]]
    assert await run_as_deployed(arguments, tmp_path) == NIGHTS
    assert (tmp_path / "segments.parquet").exists()


def test_the_container_file() -> None:
    """The image copies files that exist, installs extras that exist, and runs the command without rights."""
    lines = [line.split(maxsplit=1) for line in (DEPLOY / "Containerfile").read_text().splitlines() if line]
    steps = [(name, rest) for name, rest in (line for line in lines if len(line) == 2) if name.isupper()]
    for name, rest in steps:
        if name == "COPY" and not rest.startswith("--from"):
            assert all((ROOT / source).exists() for source in rest.split()[:-1])
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (installed,) = re.findall(r"/src\[([\w,]+)\]", (DEPLOY / "Containerfile").read_text())
    assert set(installed.split(",")) <= set(extras)
    assert dict(steps)["USER"] == "1000"
    assert json.loads(dict(steps)["ENTRYPOINT"]) == ["braze-segments"]

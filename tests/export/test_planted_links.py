"""Links, pipes and odd names beside an export, in a directory that others can write to."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from export_helpers import FORMATS, beside, content, names_in

from braze_segments_async import BrazeSegments, ConfigError, ExportError
from braze_segments_async._support.files import create_private, open_regular
from braze_segments_async.export import ExportProgress, export_segments
from braze_segments_async.sandbox import Sandbox
from braze_segments_async.workspaces import WorkspaceConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

PRECIOUS = b"precious\n"
OPTIONS: list[dict[str, Any]] = [
    {},
    {"resume": True},
    {"overwrite": True},
    {"resume": True, "overwrite": True},
]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A small one: it is exported again and again."""
    async with Sandbox(5) as sandbox:
        yield sandbox


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the file goes."""
    (tmp_path / "to").mkdir()
    return tmp_path / "to" / "segments.ndjson"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "precious"
    path.write_bytes(PRECIOUS)
    return path


@pytest.fixture
def _no_hang() -> Iterator[None]:
    """Interrupt a test that waits for the other end of a pipe."""

    def stop(*_: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 20.0)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, before)


def plant(kind: str, at: Path, victim: Path) -> None:
    """Put something there that is no regular file of its own."""
    match kind:
        case "link":
            at.symlink_to(victim)
        case "dangling":
            at.symlink_to(victim.with_name("new"))
        case "hard link":
            at.hardlink_to(victim)
        case "pipe":
            os.mkfifo(at)
        case "directory":
            at.mkdir()
            (at / "inside").write_bytes(PRECIOUS)


def untouched(victim: Path) -> None:
    """Nothing outside the directory of the export was changed or made."""
    assert victim.read_bytes() == PRECIOUS
    assert names_in(victim) == {victim.name}


@pytest.mark.usefixtures("_no_hang")
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "directory"])
@pytest.mark.parametrize("suffix", [".lock", ".journal", ".part", ".failures.ndjson.part"])
async def test_planted_before(
    sandbox: Sandbox, client: BrazeSegments, target: Path, victim: Path, *, suffix: str, kind: str
) -> None:
    """Refused before the first request, whatever the options; neither followed, changed nor removed."""
    plant(kind, beside(target, suffix), victim)
    for options in OPTIONS:
        with pytest.raises(ExportError, match="is a link or not a regular file, and was not changed"):
            await export_segments(client, target, **options)
        untouched(victim)
        assert names_in(target) == {f"{target.name}{suffix}"}
    assert not sandbox.requests


@pytest.mark.parametrize("suffix", [".lock", ".journal"])
async def test_a_second_name_of_another_file(
    sandbox: Sandbox, client: BrazeSegments, target: Path, victim: Path, suffix: str
) -> None:
    """A hard link is refused as a lock and as a journal to resume, and never written through."""
    plant("hard link", beside(target, suffix), victim)
    with pytest.raises(ExportError, match="is a link or not a regular file"):
        await export_segments(client, target, resume=True)
    assert not sandbox.requests
    untouched(victim)


@pytest.mark.usefixtures("_no_hang")
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
@pytest.mark.parametrize("suffix", FORMATS.values())
async def test_planted_meanwhile(
    client: BrazeSegments, target: Path, victim: Path, suffix: str, kind: str
) -> None:
    """At the path of the part, after the export had looked there: refused when the file is written."""
    target = target.with_suffix(suffix)

    def appear(_: ExportProgress) -> None:
        if not os.path.lexists(beside(target, ".part")):
            plant(kind, beside(target, ".part"), victim)

    with pytest.raises(ExportError, match="is a link or not a regular file"):
        await export_segments(client, target, on_progress=appear)
    untouched(victim)
    assert not target.exists()
    assert (await export_segments(client, target, resume=True)).resumed == 5


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "directory"])
async def test_the_rows_of_parquet(
    sandbox: Sandbox, client: BrazeSegments, target: Path, victim: Path, kind: str
) -> None:
    """What is at the path of the folder is refused, or removed if a dead process may have left it."""
    target = target.with_suffix(".parquet")
    plant(kind, beside(target, ".part.rows"), victim)
    if kind == "directory":
        await export_segments(client, target)
    else:
        with pytest.raises(ExportError, match="is a link or not a regular file"):
            await export_segments(client, target)
        assert not sandbox.requests
    untouched(victim)


@pytest.mark.usefixtures("_no_hang")
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_files_are_opened_for_what_they_are(tmp_path: Path, victim: Path, kind: str) -> None:
    """The two ways to open a file, for users files as well, follow no link and wait for no pipe."""
    plant(kind, path := tmp_path / "planted", victim)
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT):
        with pytest.raises(ExportError, match="is a link or not a regular file"):
            open_regular(path, flags)
    with pytest.raises(ExportError, match="is a link or not a regular file"):
        create_private(path)
    untouched(victim)


NAMES = [
    "file:mine.db?x=.sqlite",
    "file:other",
    ":memory:",
    "~",
    "~root",
    "it's",
    'a "b"',
    "a b%20c#d?e&f=g",
    "[a]*?{b,c}",
    "back\\slash",
    "line\nbreak",
    "-rf",
    "s3:",
    "naïve 🔥",
    "x" * 230,
    os.fsdecode(b"not\xffutf8"),
]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("place", ["name", "folder"])
async def test_odd_names(
    sandbox: Sandbox,
    client: BrazeSegments,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: str,
    place: str,
) -> None:
    """A relative path with any name in it: written exactly there, or refused before the first request."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    await export_segments(client, whole := tmp_path / f"whole.{kind}")
    for name in NAMES:
        sandbox.requests.clear()
        path = here.joinpath(name) if place == "name" else here / name / f"a{FORMATS[kind]}"
        path.parent.mkdir(exist_ok=True)
        try:
            await export_segments(client, path.relative_to(here), format=kind)  # type: ignore[arg-type]
        except ConfigError as error:
            assert (kind, "UTF-8" in str(error)) == ("parquet", True)  # noqa: PT017 - or it is written
            assert not sandbox.requests
            assert not path.exists()
        else:
            (copy := tmp_path / f"copy.{kind}").write_bytes(path.read_bytes())
            assert content(copy) == content(whole)
            path.unlink()
        if place == "folder":
            path.parent.rmdir()
        assert not list(here.iterdir())
    assert not list(home.iterdir())


@pytest.mark.parametrize("name", ["CON", "con", "nul", "Aux", "PRN", "COM1", "com9", "COM0", "LPT1", "lpt9"])
def test_devices_of_windows(tmp_path: Path, name: str) -> None:
    """No workspace is called like one: `con.csv` is the console there, whatever the suffix."""
    with pytest.raises(ConfigError, match=f"name must be another than {name}, which is a device on Windows"):
        WorkspaceConfig(
            name=name, base_url="https://rest.iad-01.braze.com", path=tmp_path / name, api_key_env="A"
        )
    for other in ("console", "com", "com10", "lpt", "nul-1", "a_con"):
        WorkspaceConfig(name=other, base_url="https://rest.iad-01.braze.com", path=tmp_path, api_key_env="A")

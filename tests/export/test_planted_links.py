"""Links, pipes and odd names beside an export, in a directory that others can write to."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from export_helpers import FORMATS, content, names_in, sibling

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
    """A small sandbox, since it is exported many times."""
    async with Sandbox(5) as sandbox:
        yield sandbox


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The path of the exported file, in an empty directory."""
    (tmp_path / "to").mkdir()
    return tmp_path / "to" / "segments.ndjson"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file in another directory, which exports must not change."""
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "precious"
    path.write_bytes(PRECIOUS)
    return path


@pytest.fixture
def _no_hang() -> Iterator[None]:
    """Fail a test that blocks on a pipe."""

    def stop(*_: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 20.0)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, before)


def plant(kind: str, at: Path, victim: Path) -> None:
    """Create a link, a pipe or a directory at a path."""
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


def assert_untouched(victim: Path) -> None:
    """Check that no file outside the directory of the export was changed or created."""
    assert victim.read_bytes() == PRECIOUS
    assert names_in(victim) == {victim.name}


@pytest.mark.usefixtures("_no_hang")
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "directory"])
@pytest.mark.parametrize("suffix", [".lock", ".journal", ".part", ".failures.ndjson.part"])
async def test_planted_before_the_export(
    sandbox: Sandbox, client: BrazeSegments, target: Path, victim: Path, *, suffix: str, kind: str
) -> None:
    """A link, pipe or directory at a path of the export is refused before any request, and not changed."""
    plant(kind, sibling(target, suffix), victim)
    for options in OPTIONS:
        with pytest.raises(ExportError, match="is a link or not a regular file, and was not changed"):
            await export_segments(client, target, **options)
        assert_untouched(victim)
        assert names_in(target) == {f"{target.name}{suffix}"}
    assert not sandbox.requests


@pytest.mark.parametrize("suffix", [".lock", ".journal"])
async def test_a_hard_link_to_another_file(
    sandbox: Sandbox, client: BrazeSegments, target: Path, victim: Path, suffix: str
) -> None:
    """A hard link is refused as a lock and as a journal to resume, and never written through."""
    plant("hard link", sibling(target, suffix), victim)
    with pytest.raises(ExportError, match="is a link or not a regular file"):
        await export_segments(client, target, resume=True)
    assert not sandbox.requests
    assert_untouched(victim)


@pytest.mark.usefixtures("_no_hang")
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
@pytest.mark.parametrize("suffix", FORMATS.values())
async def test_planted_during_the_export(
    client: BrazeSegments, target: Path, victim: Path, suffix: str, kind: str
) -> None:
    """A link or pipe created at the path of the part during the export is refused at the end."""
    target = target.with_suffix(suffix)

    def appear(_: ExportProgress) -> None:
        if not os.path.lexists(sibling(target, ".part")):
            plant(kind, sibling(target, ".part"), victim)

    with pytest.raises(ExportError, match="is a link or not a regular file"):
        await export_segments(client, target, on_progress=appear)
    assert_untouched(victim)
    assert not target.exists()
    assert (await export_segments(client, target, resume=True)).resumed == 5


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "directory"])
async def test_planted_at_the_path_for_rows_of_parquet(
    sandbox: Sandbox, client: BrazeSegments, target: Path, victim: Path, kind: str
) -> None:
    """A link or pipe at the path for rows of Parquet is refused; a leftover directory is removed."""
    target = target.with_suffix(".parquet")
    plant(kind, sibling(target, ".part.rows"), victim)
    if kind == "directory":
        await export_segments(client, target)
    else:
        with pytest.raises(ExportError, match="is a link or not a regular file"):
            await export_segments(client, target)
        assert not sandbox.requests
    assert_untouched(victim)


@pytest.mark.usefixtures("_no_hang")
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_only_regular_files_are_opened(tmp_path: Path, victim: Path, kind: str) -> None:
    """`open_regular` and `create_private` follow no link and do not block on a pipe."""
    plant(kind, path := tmp_path / "planted", victim)
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT):
        with pytest.raises(ExportError, match="is a link or not a regular file"):
            open_regular(path, flags)
    with pytest.raises(ExportError, match="is a link or not a regular file"):
        create_private(path)
    assert_untouched(victim)


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
    """A path with an odd name is written exactly there, or refused before any request."""
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
def test_device_names_of_windows_are_refused(tmp_path: Path, name: str) -> None:
    """Device names of Windows are refused as names of workspaces, because `con.csv` is a device there."""
    with pytest.raises(ConfigError, match=f"name must be another than {name}, which is a device on Windows"):
        WorkspaceConfig(
            name=name, base_url="https://rest.iad-01.braze.com", path=tmp_path / name, api_key_env="A"
        )
    for other in ("console", "com", "com10", "lpt", "nul-1", "a_con"):
        WorkspaceConfig(name=other, base_url="https://rest.iad-01.braze.com", path=tmp_path, api_key_env="A")

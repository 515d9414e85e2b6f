"""Resuming from a changed journal raises `ExportError` or produces the same bytes as a complete export."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from export_helpers import names_in, sibling

from braze_segments_async import AuthenticationError, BrazeSegments, ExportError, RetryPolicy
from braze_segments_async.export import ExportProgress, ResumeError, export_segments
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    Mutation = Callable[[bytes, random.Random], bytes]

SEGMENTS = 12


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A small sandbox, since it is exported many times."""
    async with Sandbox(SEGMENTS) as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[BrazeSegments]:
    """An open client that retries without delay, and sends one request at a time."""
    async with BrazeSegments(
        sandbox.api_key, base_url=sandbox.base_url, concurrency=1, retry=RetryPolicy(backoff=0.0)
    ) as client:
        yield client


async def journal_of(sandbox: Sandbox, client: BrazeSegments, target: Path) -> bytes:
    """Export all but the last segments, and return the journal."""
    sandbox.inject(Answer(status=401), endpoint="details", ordinals=sandbox.count("details") + 10)
    with pytest.raises(AuthenticationError):
        await export_segments(client, target)
    return sibling(target, ".journal").read_bytes()


def flip(journal: bytes, rng: random.Random) -> bytes:
    """Change one bit."""
    at = rng.randrange(len(journal))
    return journal[:at] + bytes([journal[at] ^ 1 << rng.randrange(8)]) + journal[at + 1 :]


def edit(journal: bytes, rng: random.Random) -> bytes:
    """Change, remove, add or retype one key of one row."""
    lines = journal.splitlines()
    number = rng.randrange(1, len(lines))
    row = json.loads(lines[number])
    key = rng.choice(list(row))
    match rng.randrange(3):
        case 0:
            del row[key]
        case 1:
            row[key] = rng.choice([None, 7, "text", [], {}, [1], True, "2020-01-01T00:00:00+00:00"])
        case _:
            row["another"] = "key"
    lines[number] = json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode()
    return b"\n".join(lines) + b"\n"


def remove(journal: bytes, rng: random.Random) -> bytes:
    """Remove a row."""
    lines = journal.splitlines(keepends=True)
    del lines[rng.randrange(1, len(lines))]
    return b"".join(lines)


def repeat(journal: bytes, rng: random.Random) -> bytes:
    """Insert a copy of a row, in half of the cases with another id."""
    lines = journal.splitlines(keepends=True)
    row = rng.choice(lines[1:])
    if rng.random() < 0.5:
        row = row.replace(b'{"id":"', b'{"id":"0', 1)
    lines.insert(rng.randrange(1, len(lines) + 1), row)
    return b"".join(lines)


def swap(journal: bytes, rng: random.Random) -> bytes:
    """Swap two rows."""
    lines = journal.splitlines(keepends=True)
    a, b = rng.sample(range(1, len(lines)), 2)
    lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


def cut(journal: bytes, rng: random.Random) -> bytes:
    """Truncate the journal anywhere, as a killed process may."""
    return journal[: rng.randrange(len(journal))]


MUTATIONS: dict[str, tuple[Mutation, int]] = {
    "flip": (flip, 60),
    "edit": (edit, 40),
    "remove": (remove, 15),
    "repeat": (repeat, 20),
    "swap": (swap, 15),
    "cut": (cut, 20),
}


async def resume_changed(
    sandbox: Sandbox, client: BrazeSegments, folder: Path, mutate: Mutation, *, cases: int, seed: int = 1
) -> Counter[str]:
    """Resume from changed journals, and count refused exports and exports with the same bytes."""
    await export_segments(client, whole := folder / "whole.ndjson")
    journal = await journal_of(sandbox, client, target := folder / "to" / "segments.ndjson")
    rng, outcomes = random.Random(seed), Counter[str]()
    while outcomes.total() < cases:
        changed = mutate(journal, rng)
        if changed == journal:
            continue
        sibling(target, ".journal").write_bytes(changed)
        try:
            await export_segments(client, target, resume=True)
        except ExportError as error:
            assert "cannot resume from " in str(error)  # noqa: PT017 - or it is resumed
            assert names_in(target) == {f"{target.name}.journal"}
            outcomes["refused"] += 1
        else:
            assert target.read_bytes() == whole.read_bytes()
            outcomes["the same bytes"] += 1
            target.unlink()
    return outcomes


@pytest.mark.parametrize("kind", MUTATIONS)
async def test_a_changed_journal(sandbox: Sandbox, client: BrazeSegments, tmp_path: Path, kind: str) -> None:
    """A changed journal is refused with `ExportError`, or resumed to the same bytes."""
    (tmp_path / "to").mkdir()
    mutate, cases = MUTATIONS[kind]
    outcomes = await resume_changed(sandbox, client, tmp_path, mutate, cases=cases)
    # Rows missing at the end are fetched again; every other change is detected.
    assert outcomes["the same bytes"] <= {"flip": 4, "remove": 4, "cut": cases, "edit": 0}.get(kind, 0)


async def test_the_advice_for_a_damaged_journal(
    sandbox: Sandbox, client: BrazeSegments, tmp_path: Path
) -> None:
    """The error for a damaged journal says what to do, and that advice works."""
    (tmp_path / "to").mkdir()
    target = tmp_path / "to" / "segments.ndjson"
    journal = await journal_of(sandbox, client, target)
    sibling(target, ".journal").write_bytes(journal.replace(b'"name":"', b'"name":"Not ', 1))
    for options in ({"resume": True}, {"resume": True, "overwrite": True}):
        with pytest.raises(ResumeError, match=r"a row does not have its checksum.*overwrite=True alone"):
            await export_segments(client, target, **options)  # type: ignore[arg-type]
    assert (await export_segments(client, target, overwrite=True)).rows == SEGMENTS


async def test_a_journal_changed_during_the_export(client: BrazeSegments, tmp_path: Path) -> None:
    """A row that changes on disk before the file is written from it is detected."""
    target = tmp_path / "segments.ndjson"
    journal = sibling(target, ".journal")

    def change(progress: ExportProgress) -> None:
        if progress.done == SEGMENTS and journal.exists():
            journal.write_bytes(journal.read_bytes().replace(b'"name":"', b'"name":"X', 1))

    with pytest.raises(ExportError, match="does not have its checksum"):
        await export_segments(client, target, on_progress=change)
    assert not target.exists()

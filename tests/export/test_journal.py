"""A journal that was changed: `ExportError`, or the very bytes of an undisturbed export. Nothing else."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from export_helpers import beside, names_in

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
    """A small one: it is exported again and again."""
    async with Sandbox(SEGMENTS) as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[BrazeSegments]:
    """An open client that does not wait, and asks for one segment after the other."""
    async with BrazeSegments(
        sandbox.api_key, base_url=sandbox.base_url, concurrency=1, retry=RetryPolicy(backoff=0.0)
    ) as client:
        yield client


async def journal_of(sandbox: Sandbox, client: BrazeSegments, target: Path) -> bytes:
    """Export all but the last segments, and return the journal."""
    sandbox.inject(Answer(status=401), endpoint="details", ordinals=sandbox.count("details") + 10)
    with pytest.raises(AuthenticationError):
        await export_segments(client, target)
    return beside(target, ".journal").read_bytes()


def flip(journal: bytes, chance: random.Random) -> bytes:
    """Change one bit."""
    at = chance.randrange(len(journal))
    return journal[:at] + bytes([journal[at] ^ 1 << chance.randrange(8)]) + journal[at + 1 :]


def edit(journal: bytes, chance: random.Random) -> bytes:
    """Change, remove, add or retype one key of one row."""
    lines = journal.splitlines()
    number = chance.randrange(1, len(lines))
    row = json.loads(lines[number])
    key = chance.choice(list(row))
    match chance.randrange(3):
        case 0:
            del row[key]
        case 1:
            row[key] = chance.choice([None, 7, "text", [], {}, [1], True, "2020-01-01T00:00:00+00:00"])
        case _:
            row["another"] = "key"
    lines[number] = json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode()
    return b"\n".join(lines) + b"\n"


def remove(journal: bytes, chance: random.Random) -> bytes:
    """Leave a row out."""
    lines = journal.splitlines(keepends=True)
    del lines[chance.randrange(1, len(lines))]
    return b"".join(lines)


def repeat(journal: bytes, chance: random.Random) -> bytes:
    """Add a row again, somewhere; in half of the cases as another segment."""
    lines = journal.splitlines(keepends=True)
    row = chance.choice(lines[1:])
    if chance.random() < 0.5:
        row = row.replace(b'{"id":"', b'{"id":"0', 1)
    lines.insert(chance.randrange(1, len(lines) + 1), row)
    return b"".join(lines)


def swap(journal: bytes, chance: random.Random) -> bytes:
    """Let two rows change places."""
    lines = journal.splitlines(keepends=True)
    a, b = chance.sample(range(1, len(lines)), 2)
    lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


def cut(journal: bytes, chance: random.Random) -> bytes:
    """End it anywhere, as a process or a machine that dies does."""
    return journal[: chance.randrange(len(journal))]


MUTATIONS: dict[str, tuple[Mutation, int]] = {
    "flip": (flip, 60),
    "edit": (edit, 40),
    "remove": (remove, 15),
    "repeat": (repeat, 20),
    "swap": (swap, 15),
    "cut": (cut, 20),
}


async def attack(
    sandbox: Sandbox, client: BrazeSegments, folder: Path, mutate: Mutation, *, cases: int, seed: int = 1
) -> Counter[str]:
    """Resume from journals that were changed; how many exports were refused, and how many the same bytes."""
    await export_segments(client, whole := folder / "whole.ndjson")
    journal = await journal_of(sandbox, client, target := folder / "to" / "segments.ndjson")
    chance, ends = random.Random(seed), Counter[str]()
    while ends.total() < cases:
        changed = mutate(journal, chance)
        if changed == journal:
            continue
        beside(target, ".journal").write_bytes(changed)
        try:
            await export_segments(client, target, resume=True)
        except ExportError as error:
            assert "cannot resume from " in str(error)  # noqa: PT017 - or it is resumed
            assert names_in(target) == {f"{target.name}.journal"}
            ends["refused"] += 1
        else:
            assert target.read_bytes() == whole.read_bytes()
            ends["the same bytes"] += 1
            target.unlink()
    return ends


@pytest.mark.parametrize("kind", MUTATIONS)
async def test_a_changed_journal(sandbox: Sandbox, client: BrazeSegments, tmp_path: Path, kind: str) -> None:
    """Refused with `ExportError`, or resumed to the same bytes, however it was changed."""
    (tmp_path / "to").mkdir()
    mutate, cases = MUTATIONS[kind]
    ends = await attack(sandbox, client, tmp_path, mutate, cases=cases)
    # What is missing at the end is fetched again; all else is seen.
    assert ends["the same bytes"] <= {"flip": 4, "remove": 4, "cut": cases, "edit": 0}.get(kind, 0)


async def test_a_message_that_helps(sandbox: Sandbox, client: BrazeSegments, tmp_path: Path) -> None:
    """It says what is wrong and what to do; `overwrite` without `resume` does it."""
    (tmp_path / "to").mkdir()
    target = tmp_path / "to" / "segments.ndjson"
    journal = await journal_of(sandbox, client, target)
    beside(target, ".journal").write_bytes(journal.replace(b'"name":"', b'"name":"Not ', 1))
    for options in ({"resume": True}, {"resume": True, "overwrite": True}):
        with pytest.raises(ResumeError, match=r"a row does not have its checksum.*overwrite=True alone"):
            await export_segments(client, target, **options)  # type: ignore[arg-type]
    assert (await export_segments(client, target, overwrite=True)).rows == SEGMENTS


async def test_changed_while_it_is_used(client: BrazeSegments, tmp_path: Path) -> None:
    """A row that changes on the disk before the file is written from it is seen, too."""
    target = tmp_path / "segments.ndjson"
    journal = beside(target, ".journal")

    def change(progress: ExportProgress) -> None:
        if progress.done == SEGMENTS and journal.exists():
            journal.write_bytes(journal.read_bytes().replace(b'"name":"', b'"name":"X', 1))

    with pytest.raises(ExportError, match="does not have its checksum"):
        await export_segments(client, target, on_progress=change)
    assert not target.exists()

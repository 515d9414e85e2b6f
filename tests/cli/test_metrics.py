"""`export --metrics`: a file for node_exporter's textfile collector."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from cli_helpers import run_command
from prometheus_client.parser import text_string_to_metric_families
from workspaces_helpers import keys_in, write_file

from braze_segments_async import ConfigError, ServerError
from braze_segments_async.cli.metrics import ExportMetrics, recorded_metrics, write_metrics
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from pathlib import Path

from cli_helpers import environment


def read(path: Path) -> dict[tuple[str, str], float]:
    """Return the values of a file by workspace and short name, as Prometheus reads them."""
    return {
        (sample.labels["workspace"], sample.name.removeprefix("braze_segments_export_")): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


async def test_an_export_and_a_failure_after_it(tmp_path: Path) -> None:
    """A failure keeps the rows and the time of the last success; the next success replaces them."""
    metrics, file = tmp_path / "braze.prom", tmp_path / "segments.csv"
    arguments = ("export", "--output", str(file), "--overwrite", "--metrics", str(metrics))
    async with Sandbox(30) as sandbox:
        assert (await run_command(sandbox, *arguments))[0] == 0
        first = read(metrics)
        assert first["segments", "success"] == 1
        assert first["segments", "rows"] == 30
        assert first["segments", "failed_segments"] == 0
        assert 0 < first["segments", "duration_seconds"] < 60
        assert first["segments", "last_success_timestamp_seconds"] == pytest.approx(
            file.stat().st_mtime, abs=60
        )
        sandbox.inject(Answer(400), endpoint="details", segment_id=sandbox.segment_ids[0], times=1)
        assert (await run_command(sandbox, *arguments))[0] == 3
        second = read(metrics)
        assert (second["segments", "success"], second["segments", "failed_segments"]) == (0, 1)
        for name in ("rows", "last_success_timestamp_seconds"):
            assert second["segments", name] == first["segments", name]
        assert (
            second["segments", "last_run_timestamp_seconds"] > first["segments", "last_run_timestamp_seconds"]
        )
    assert (metrics.stat().st_mode & 0o444) == 0o444


async def test_many_workspaces(tmp_path: Path) -> None:
    """With `--workspaces`, each workspace has its own figures."""
    async with Sandbox(3, api_key="a") as a, Sandbox(4, api_key="b") as b:
        sandboxes = {"a": a, "b": b}
        file = write_file(tmp_path / "workspaces.toml", sandboxes)
        variables = environment(None, **keys_in(sandboxes) | {"KEY_OF_B": "wrong"})
        where = ("--workspaces", str(file), "--output", str(tmp_path / "out"))
        code, _, _ = await run_command(
            a, "export", *where, "--metrics", str(tmp_path / "braze.prom"), env=variables
        )
    values = read(tmp_path / "braze.prom")
    assert code == 5
    assert (values["a", "success"], values["a", "rows"], values["b", "success"]) == (1, 3, 0)
    assert ("b", "last_success_timestamp_seconds") not in values


def test_a_partial_file_is_no_success(tmp_path: Path) -> None:
    """A file without some segments updates the rows, and is no success."""
    path = tmp_path / "braze.prom"
    metrics = ExportMetrics('odd "name"\n')
    metrics.set_written(7, 1)
    write_metrics(path, [metrics])
    values = read(path)
    assert values['odd "name"\n', "rows"] == 7
    assert values['odd "name"\n', "success"] == 0
    assert ('odd "name"\n', "last_success_timestamp_seconds") not in values


def test_an_error_of_the_export_is_recorded(tmp_path: Path) -> None:
    """An error reaches the caller and is recorded, in place of garbage; a Ctrl-C is not recorded."""
    path = tmp_path / "braze.prom"
    path.write_text("no metrics {{{")
    with pytest.raises(KeyboardInterrupt), recorded_metrics(path, "a"):
        raise KeyboardInterrupt
    assert path.read_text() == "no metrics {{{"
    with pytest.raises(ServerError), recorded_metrics(path, "a"):
        raise ServerError("Braze is down")
    assert read(path)["a", "success"] == 0


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without prometheus-client, the error says what to install, before any request."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with (
        pytest.raises(ConfigError, match=r"braze-segments-async\[metrics\]"),
        recorded_metrics(tmp_path / "a", "a"),
    ):
        raise AssertionError

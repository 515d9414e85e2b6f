"""Sections of the benchmark: each module has a `TITLE`, and a `run(scale)` that returns a table."""

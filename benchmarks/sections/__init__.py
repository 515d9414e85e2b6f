"""What is measured: each module has a `TITLE`, and a `run(scale)` that returns the table."""

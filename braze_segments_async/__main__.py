"""Run the command `braze-segments` as `python -m braze_segments_async`."""

from .cli import main

main()

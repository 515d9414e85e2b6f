"""`python -m braze_segments_async` is the command `braze-segments`."""

from .cli import main

main()

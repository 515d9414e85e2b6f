"""Show what the command does, without a key or a network: `make demo`.

The commands run against the sandbox, a fake Braze in this process. Its responses take some time. During the
first export it has an outage, and later it asks to wait for the rate limit.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from braze_segments_async.catalogue import read_catalogue, write_report
from braze_segments_async.sandbox import Answer, Sandbox

FOLDER = Path("demo")
DATABASE, PAGE = FOLDER / "segments.sqlite", FOLDER / "segments.html"
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("export", str(DATABASE), "--sizes", "30", "--overwrite"),
    ("list", "--limit", "8", "--columns", "name,edited,size,tags"),
    ("audit", str(DATABASE), "--exit-zero"),
)


async def main() -> None:
    """Run the commands one after the other, as in a terminal."""
    async with Sandbox(1_200, latency=0.03) as sandbox:
        sandbox.inject(Answer(503), endpoint="details", ordinals=range(300, 312))
        sandbox.inject(Answer(429, headers={"Retry-After": "3"}), endpoint="details", ordinals=700)
        env = {
            **os.environ,
            "BRAZE_API_KEY": sandbox.api_key,
            "BRAZE_BASE_URL": sandbox.base_url,
            "PAGER": "",  # the table stays on the screen
        }
        for arguments in COMMANDS:
            print(f"\n$ braze-segments {' '.join(arguments)}", flush=True)
            command = (sys.executable, "-m", "braze_segments_async", *arguments)
            is_audit = arguments[0] == "audit"
            process = await asyncio.create_subprocess_exec(
                *command, env=env, stdout=PIPE if is_audit else None
            )
            out, _ = await process.communicate()
            if process.returncode:
                sys.exit(process.returncode)
            if is_audit:  # only the summary: a line for each rule
                print(*(line for line in out.decode().splitlines() if line[:1].strip()), sep="\n")
    write_report(read_catalogue(DATABASE), PAGE, overwrite=True)
    print(f"\nOpen the page in a browser:  {PAGE.resolve()}")
    print(f"Query the database:          {DATABASE.resolve()}")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    asyncio.run(main())

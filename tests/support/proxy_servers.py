"""Web servers and proxies from Debian packages, started by tests on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from braze_segments_async.sandbox import Sandbox

__all__ = ["ForwardProxy", "Nginx", "find_program", "free_port", "make_certificate", "running"]

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
_START_SECONDS = 10


@attrs.frozen
class Nginx:
    """nginx in front of a sandbox.

    Attributes:
        sandbox: The sandbox.
        url: Address without TLS; `/a/prefix`, `/down`, `/forbidden` and `/busy` below it.
        tls_url: Address with a certificate of a private CA.
        folder: Folder with `ca.pem` and `access.log`.
    """

    sandbox: Sandbox
    url: str
    tls_url: str
    folder: Path


@attrs.frozen
class ForwardProxy:
    """tinyproxy.

    Attributes:
        url: Its address.
        log: Its log.
    """

    url: str
    log: Path


def find_program(name: str, package: str | None = None) -> str:
    """Return the path of a program, or skip the test."""
    program = shutil.which(name, path=_PATH)
    if program is None:
        pytest.skip(f"{name} is not installed; on Debian or Ubuntu: apt-get install {package or name}")
    return program


def free_port() -> int:
    """Return a TCP port of loopback that nothing uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[str | Path], port: int) -> Iterator[None]:
    """Run a server, which accepts connections when the block begins, and stop it at the end."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # noqa: S603
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _accepts(port):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"{command[0]} did not start: {process.communicate()[0]!r}")
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.communicate()


def make_certificate(folder: Path) -> None:
    """Write `ca.pem`, and `server.pem` with `server.key`: a certificate for `localhost`, signed by the CA."""
    openssl = find_program("openssl")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)  # noqa: S603

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run(
        "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=A private CA"
    )
    run("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    run("x509", "-req", "-in", "server.csr", *signed, "-out", "server.pem")


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

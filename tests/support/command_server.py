"""Run each command in a fork of a process that has imported the package, which saves 0.4 s of imports.

A command is a process of its own, with its own arguments, environment, streams, signals and exit code. It
runs `main()` and then the end of the interpreter, as `python -m braze_segments_async` does.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from typing import Any

_PACKAGES = ("braze_segments_async.cli", "braze_segments_async.export", "braze_segments_async.sandbox")
_MAX_REQUEST = 2**17  # bytes


class CommandProcess(asyncio.Protocol):
    """A running command: what the tests use of `asyncio.subprocess.Process`.

    Attributes:
        pid: Id of the process.
        returncode: Exit code; minus the number of the signal that ended it; `None` while it runs.
    """

    pid: int
    stdin = None
    stdout: asyncio.StreamReader | None = None
    stderr: asyncio.StreamReader | None = None
    returncode: int | None = None

    def __init__(self) -> None:
        """Prepare for the messages of the server."""
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._messages = b""

    def data_received(self, data: bytes) -> None:
        """Take the id, later the exit code: a line for each."""
        *lines, self._messages = (self._messages + data).split(b"\n")
        for line in lines:
            if not self.started.done():
                self.pid = int(line)
                self.started.set_result(None)
            else:
                self.returncode = int(line)

    def connection_lost(self, _: Exception | None) -> None:
        """The server has nothing more to say."""
        self._ended.set_result(None)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the command has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    async def wait(self) -> int:
        """Wait for the end of the command, and return its exit code."""
        await asyncio.shield(self._ended)
        assert self.returncode is not None
        return self.returncode

    async def communicate(self) -> tuple[bytes, bytes]:
        """Return the output and the error output after the end of the command."""

        async def read(stream: asyncio.StreamReader | None) -> bytes:
            return b"" if stream is None else await stream.read()

        out, err, _ = await asyncio.gather(read(self.stdout), read(self.stderr), self.wait())
        return out, err


class CommandServer:
    """The process that forks for the tests of this process, and ends with it."""

    def __init__(self) -> None:
        """Start it."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            fd = theirs.fileno()
            self._process = subprocess.Popen([sys.executable, "-P", __file__, str(fd)], pass_fds=[fd])  # noqa: S603
        atexit.register(self.close)

    def close(self) -> None:
        """End the server."""
        self._socket.close()
        self._process.wait()

    async def start(
        self,
        arguments: tuple[str, ...],
        *,
        env: dict[str, str],
        cwd: str,
        given: bytes,
        stdout: Any,
        stderr: Any,
    ) -> CommandProcess:
        """Start a command; `given` is its standard input, 64 KiB at most."""
        process = CommandProcess()
        status, theirs = socket.socketpair()
        stdin, writing = os.pipe()
        os.write(writing, given)
        os.close(writing)
        fds, ours = [theirs.detach(), stdin], {}
        for name, stream in (("stdout", stdout), ("stderr", stderr)):
            if stream == PIPE:
                ours[name], writing = os.pipe()
                fds.append(writing)
            elif stream == DEVNULL:
                fds.append(os.open(os.devnull, os.O_WRONLY))
            else:
                fds.append(os.dup(stream if isinstance(stream, int) else stream.fileno()))
        request = {"arguments": arguments, "env": env, "cwd": cwd}
        socket.send_fds(self._socket, [json.dumps(request).encode()], fds)
        for fd in fds:
            os.close(fd)
        loop = asyncio.get_running_loop()
        for name, fd in ours.items():
            reader = asyncio.StreamReader()
            setattr(process, name, reader)
            file = os.fdopen(fd, "rb")
            await loop.connect_read_pipe(lambda reader=reader: asyncio.StreamReaderProtocol(reader), file)  # type: ignore[misc]
        await loop.create_connection(lambda: process, sock=status)
        await process.started
        return process


def _next_request(requests: socket.socket) -> dict[str, Any]:
    """Fork for each request, and return the request in the new process. End with the tests."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # leave no zombies
    while True:
        message, fds, _, _ = socket.recv_fds(requests, _MAX_REQUEST, 4)
        if not message:
            sys.exit()
        status, *streams = fds
        if os.fork() == 0:  # the parent of the command, which reports its exit code
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if (pid := os.fork()) == 0:
                break
            for stream in streams:
                os.close(stream)
            os.write(status, b"%d\n" % pid)
            os.write(status, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            os._exit(0)
        for fd in fds:
            os.close(fd)
    requests.close()
    os.close(status)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    request: dict[str, Any] = json.loads(message)
    return request


def _become(request: dict[str, Any]) -> None:
    """Give this process the arguments, the environment and the streams of the command."""
    # A shell that runs the tests in the background lets them ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv[1:] = request["arguments"]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as the interpreter does
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    for package in _PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            importlib.import_module(module.name)
    gc.freeze()
    _become(_next_request(socket.socket(fileno=int(sys.argv[1]))))
    importlib.import_module("braze_segments_async.cli").main()

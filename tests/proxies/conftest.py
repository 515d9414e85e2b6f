"""nginx in front of a sandbox, and tinyproxy, for all tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from proxy_servers import ForwardProxy, Nginx, find_program, free_port, make_certificate, running

from braze_segments_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream braze {{ server {upstream}; keepalive 32; }}
    gzip on;
    gzip_proxied any;
    gzip_min_length 1;
    gzip_types application/json;
    keepalive_requests 7;
    proxy_buffering on;
    proxy_buffers 8 4k;
    proxy_buffer_size 4k;
    proxy_busy_buffers_size 8k;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {{
        listen 127.0.0.1:{plain};
        location / {{ proxy_pass http://braze; }}
        location /a/prefix/ {{ proxy_pass http://braze/; }}
        location /down/ {{ proxy_pass http://127.0.0.1:{closed}/; }}
        location /forbidden/ {{ return 403; }}
        location /busy/ {{ return 429; }}
    }}
    server {{
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.key;
        location / {{ proxy_pass http://braze; }}
    }}
}}
"""
TINYPROXY = """
Port {port}
Listen 127.0.0.1
Allow 127.0.0.1
LogFile "{folder}/tinyproxy.log"
LogLevel Connect
PidFile "{folder}/tinyproxy.pid"
MaxClients 100
{more}
"""


@pytest.fixture(scope="session")
def _nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    program, folder = find_program("nginx", "nginx-light"), tmp_path_factory.mktemp("nginx")
    make_certificate(folder)
    plain, tls = free_port(), free_port()
    with Sandbox(250, users=50) as sandbox:
        upstream = sandbox.base_url.removeprefix("http://")
        values = {"folder": folder, "upstream": upstream, "closed": free_port(), "plain": plain, "tls": tls}
        (folder / "nginx.conf").write_text(NGINX.format(**values))
        with running([program, "-p", folder, "-c", folder / "nginx.conf"], tls):
            yield Nginx(sandbox, f"http://127.0.0.1:{plain}", f"https://localhost:{tls}", folder)


@pytest.fixture
def nginx(_nginx: Nginx) -> Nginx:
    """nginx, without the requests of earlier tests."""
    _nginx.sandbox.requests.clear()
    return _nginx


@pytest.fixture
def forward_proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ForwardProxy]:
    """A forward proxy, with more lines of configuration as the parameter of the fixture."""
    program, port = find_program("tinyproxy"), free_port()
    configuration = tmp_path / "tinyproxy.conf"
    more = getattr(request, "param", "")
    configuration.write_text(TINYPROXY.format(port=port, folder=tmp_path, more=more))
    with running([program, "-d", "-c", configuration], port):
        yield ForwardProxy(f"http://127.0.0.1:{port}", tmp_path / "tinyproxy.log")

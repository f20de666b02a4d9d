"""The network as people have it: proxies, certificates of their own, stale variables, and URLs of every shape."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from yarl import URL

from pipeline import network
from pipeline.network import NetworkError
from pipeline.orchestration import webhook
from pipeline.orchestration.webhook import WebhookError
from pipeline.polling.refusals import ApiUnreachableError
from pipeline.settings import Settings, SettingsError
from pipeline.steps import Workspace
from pipeline.storage.data_directory import DataDirectory
from tests.support.command_line import assert_one_line_error, phygitals
from tests.support.raw_server import RawServer, serve_raw
from tests.support.seeds import new_seed
from tests.support.strange_servers import as_it_should, certificate
from tests.support.workspace import KEY, drop, refresh, rows

pytestmark = pytest.mark.timeout(120)

VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
HOST = "api.elsewhere.example"  # which no name server knows: it is reached through the proxy or not at all
PASSWORD = "pr0xy-geheim"


@pytest.fixture(autouse=True)
def _plain_network(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)


class Proxy:
    """A proxy that takes every CONNECT to one port of loopback; `asked` is for whom, `heads` what it was sent."""

    def __init__(self, port: int, status: str = "200 Connection established") -> None:
        self._port, self._status = port, status
        self.heads: list[str] = []

    @property
    def asked(self) -> set[str]:
        return {head.split()[1] for head in self.heads}

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(f"HTTP/1.1 {self._status}\r\n\r\n".encode())
            if self._status.startswith("200"):
                upstream = await asyncio.open_connection("127.0.0.1", self._port)
                await asyncio.gather(_pipe(reader, upstream[1]), _pipe(upstream[0], writer))
        writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@contextlib.contextmanager
def serving(proxy: Proxy) -> Iterator[int]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listening = asyncio.run_coroutine_threadsafe(asyncio.start_server(proxy.connected, "127.0.0.1"), loop).result()
    yield listening.sockets[0].getsockname()[1]

    async def stop() -> None:
        listening.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def behind_a_proxy(configure, monkeypatch, tmp_path):
    """An API that is reached through a proxy alone, and whose certificate only SSL_CERT_FILE trusts."""
    with contextlib.ExitStack() as stack:

        def start(status: str = "200 Connection established", login: str = "") -> Proxy:
            tls = certificate(tmp_path / "api.pem", x509.DNSName(HOST))
            url = stack.enter_context(serve_raw(RawServer(as_it_should, tls=tls)))
            proxy = Proxy(int(url.rpartition(":")[2]), status)
            port = stack.enter_context(serving(proxy))
            monkeypatch.setenv("HTTPS_PROXY", f"http://{login}127.0.0.1:{port}")
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "api.pem"))
            configure(
                env="production",
                api_url=f"https://{HOST}",
                api_key=KEY,
                poll_interval=0.02,
                poll_budget=20,
                request_timeout=5,
            )
            return proxy

        yield start


def test_the_api_is_reached_through_the_proxy(behind_a_proxy):
    proxy = behind_a_proxy(login=f"user:{PASSWORD}@")
    workspace = Workspace.open()
    drop(workspace, "ids.txt", "a\nb")
    refresh(workspace)
    assert rows(workspace, "SELECT DISTINCT status FROM purchases") == [("fulfilled",)]
    assert proxy.asked == {f"{HOST}:443"}
    for head in proxy.heads:
        assert "proxy-authorization: basic " in head.lower()
        assert KEY not in head


def test_a_webhook_is_reached_through_the_proxy_and_its_certificate_verified(behind_a_proxy, tmp_path):
    proxy = behind_a_proxy(status="403 Forbidden", login=f"user:{PASSWORD}@")
    with pytest.raises(WebhookError, match="the proxy in HTTPS_PROXY answered HTTP 403") as failure:
        webhook.post(f"https://{HOST}/T0P", {"text": "hello"}, "PHYGITALS_FAILURE_WEBHOOK")
    assert proxy.asked == {f"{HOST}:443"}
    assert PASSWORD not in str(failure.value)
    assert "T0P" not in str(failure.value)


def test_a_proxy_that_refuses_is_named_and_its_password_is_not(behind_a_proxy, configure):
    behind_a_proxy(status="407 Proxy Authentication Required", login=f"user:{PASSWORD}@")
    configure(poll_budget=0.3)
    workspace = Workspace.open()
    drop(workspace, "ids.txt", "a")
    with pytest.raises(ApiUnreachableError, match="the proxy in HTTPS_PROXY answered HTTP 407") as failure:
        refresh(workspace)
    assert PASSWORD not in str(failure.value)


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_direct"),
    [
        ("https://api.example", "", False),
        ("https://api.example", "api.example", True),
        ("https://api.example", ".example", True),
        ("https://api.example", "other.example, api.example", True),
        ("https://api.example", "pi.example", False),
        ("https://api.example:8443", "api.example:8443", True),
        ("https://api.example:8443", "api.example:443", False),
        ("https://api.example", "*", True),
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://11.1.2.3", "10.0.0.0/8", False),
        ("https://[fd00::1]", "fd00::/8", True),
        ("http://127.0.0.1:8000", "", True),
        ("https://127.0.0.1:8000", "", False),
        ("https://127.0.0.1:8000", "127.0.0.1", True),
    ],
)
def test_no_proxy_names_hosts_domains_ports_and_networks(url, no_proxy, is_direct, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (network.proxy_for(url) is None) == is_direct


@pytest.mark.parametrize("value", [f"socks5://u:{PASSWORD}@proxy:1080", f"http://u:{PASSWORD}@:1", "http://a b"])
def test_a_proxy_that_cannot_be_used_is_refused_before_a_directory_is_bound(value, monkeypatch, configure, tmp_path):
    monkeypatch.setenv("HTTPS_PROXY", value)
    configure(env="production", api_key=KEY)
    with pytest.raises(NetworkError, match="^HTTPS_PROXY=the value") as failure:
        Workspace.open()
    assert PASSWORD not in str(failure.value)
    assert not (tmp_path / "data").exists()


def stale(kind: str, folder: Path) -> str:
    path = folder / "stale.pem"
    if kind == "empty":
        path.touch()
    elif kind == "no PEM":
        path.write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    elif kind == "a folder":
        path.mkdir()
    return str(path)


@pytest.mark.parametrize("kind", ["missing", "empty", "no PEM", "a folder"])
def test_a_stale_file_of_certificates_is_named_by_its_variable(kind, monkeypatch, configure, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", stale(kind, tmp_path))
    configure(env="production", api_key=KEY)
    with pytest.raises(NetworkError, match="SSL_CERT_FILE=.*stale.pem") as failure:
        Workspace.open()
    assert "\n" not in str(failure.value)
    with pytest.raises(WebhookError, match="SSL_CERT_FILE"):
        webhook.post("https://hooks.example/T0P", {"text": "hello"}, "PHYGITALS_FAILURE_WEBHOOK")
    assert Settings.load(needs_key=False)  # who only reads asks nobody


@pytest.mark.parametrize("env", ["local", "production"])
def test_a_key_log_that_cannot_be_written_is_named_by_its_variable(env, monkeypatch, configure, tmp_path):
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "gone" / "keys.log"))
    configure(env=env, api_key=KEY)
    drop(Workspace(Settings.load(needs_key=False), DataDirectory(tmp_path / "data")), "a.txt", "s1")
    assert_one_line_error(phygitals("refresh"), "SSLKEYLOGFILE=")


REFUSED = [
    "http://:geheim@127.0.0.1",
    "https://user:geheim@host",
    "https://☃.example",
    "https://xn--a",
    "https://a..b",
    "https://-a.b",
    f"https://{'a' * 64}.com",
    "https://host%2f.evil",
    "https://host\\@evil.example",
    "https://a b",
    "https://127.1",
    "https://0x7f.1",
    "https://host:0",
    "https://host:65536",
    "https://host:-1",
    "https://[::1]-1",
    "https://host?",
    "https://host#",
    "https://host/\n",
    "https://[fe80::1%25eth0]",
    "https:///path",
    "//host",
    "host",
]


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_the_client_cannot_use_is_refused_before_a_directory_is_bound(url, configure, tmp_path):
    configure(env="production", api_key=KEY, api_url=url)
    with pytest.raises(SettingsError, match="^PHYGITALS_API_URL=") as failure:
        Workspace.open()
    assert "geheim" not in str(failure.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("url", ["https://Bücher.example/_", "HTTPS://host.example:8443/a", "https://host.example."])
def test_a_url_that_the_client_can_use_is_taken_as_it_is(url, configure):
    configure(env="production", api_key=KEY, api_url=url)
    assert Settings.load().base_url == url


def test_whatever_is_taken_for_a_url_names_the_host_that_is_connected_to(record_property):
    """aiohttp parses the URL once more on its way out."""
    seed = new_seed()
    print(f"seed {seed}")
    rng = random.Random(seed)
    pieces = ["https://", "http://", "127.0.0.1", "host.example", ":", "@", "/", "\\", "?", "#", "%2f", "[::1]", "ß"]
    pieces += ["a", ".", "-", "_", "1", ":443", "//", " ", "\t", "é", "☃", "user", ";", "&", "=", "xn--", "localhost"]
    taken = 0
    for _ in range(3000):
        url = rng.choice(["https://", "http://"]) + "".join(rng.choices(pieces, k=rng.randint(1, 6)))
        try:
            parsed = network.parsed(url)
        except ValueError:
            continue
        taken += 1
        connected = URL(str(parsed))
        assert (connected.raw_host, connected.scheme) == (parsed.raw_host.decode(), parsed.scheme), url
        assert connected.port == (parsed.port or (443 if parsed.scheme == "https" else 80)), url
    record_property(f"URLs, seed {seed}", json.dumps({"taken": taken, "refused": 3000 - taken}))
    assert 0 < taken < 3000

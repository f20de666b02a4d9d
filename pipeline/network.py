"""URLs, proxies and trusted certificates of outgoing connections.

`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`, `SSL_CERT_DIR` and `SSLKEYLOGFILE` have their usual meaning. Plain http is
allowed to loopback addresses only, and never goes through a proxy. httpx is imported inside functions, because its
import is slow and not every process needs it.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING
from urllib import request

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import httpx

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_LONGEST_NAME = 253


class NetworkError(PipelineError):
    """A variable about proxies or certificates has an unusable value. The message names it, without secrets."""


def parsed(url: str) -> httpx.URL:
    """The URL as the HTTP client parses it. Raises ValueError if it is invalid or has no valid host."""
    import httpx

    try:
        found = httpx.URL(url)
        host = found.raw_host.decode("ascii")
        # Reading `host` as text refuses some invalid escapes.
        # httpx takes negative ports.
        is_url = bool(found.host) and (found.port is None or 0 < found.port <= 65535) and is_host(host)
    except (httpx.InvalidURL, ValueError):
        is_url = False
    if not is_url:
        raise ValueError("not a URL with a host")
    return found


def is_host(host: str) -> bool:
    """Whether the text is a valid DNS name or an IP address (IPv6 without brackets)."""
    try:
        return "%" not in host and bool(ipaddress.ip_address(host))
    except ValueError:
        labels = host.removesuffix(".").split(".")
        # A name that ends in a number is an IPv4 address in a nonstandard form, such as `127.1` (RFC 3986).
        is_number = labels[-1].isdecimal() or labels[-1].startswith("0x")
        return len(host) <= _LONGEST_NAME and not is_number and all(map(_LABEL.fullmatch, labels))


def is_loopback(host: str) -> bool:
    """Whether a host is a loopback name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check(url: str | None) -> None:
    """Raises NetworkError if the environment's proxy or certificates cannot be used for the URL; None is loopback."""
    _check_key_log()
    if url is not None and url.lower().startswith("https:"):
        _check_certificates()
        proxy_for(url)


def tls_context() -> ssl.SSLContext:
    """A context that trusts `SSL_CERT_FILE` or `SSL_CERT_DIR`, else the authorities of certifi and of the machine.

    Raises NetworkError.
    """
    import httpx

    _check_key_log()
    _check_certificates()
    context = httpx.create_ssl_context()
    if not (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):
        context.load_default_certs()
    return context


def proxy_for(url: str) -> httpx.Proxy | None:
    """The proxy for an https URL, with its login as a header; None if the URL is reached directly.

    Raises NetworkError.
    """
    target = parsed(url)
    proxies: dict[str, str] = request.getproxies_environment()
    proxy = proxies.get("https")
    if target.scheme != "https" or not proxy or _is_direct(target, proxies):
        return None
    import httpx

    try:
        found = httpx.Proxy(parsed(proxy if "://" in proxy else f"http://{proxy}"))
    except ValueError:
        found = None
    if found is None or found.url.scheme not in ("http", "https"):
        raise NetworkError(
            "HTTPS_PROXY=the value (not shown) is refused: use a proxy's URL such as http://proxy.example:3128"
        )
    if found.raw_auth is None:
        return found
    login = base64.b64encode(b":".join(found.raw_auth)).decode()
    return httpx.Proxy(found.url, headers={"Proxy-Authorization": f"Basic {login}"})


def _is_direct(target: httpx.URL, proxies: dict[str, str]) -> bool:
    """Whether `NO_PROXY` has the host: by name, domain, name with port, or network in CIDR notation."""
    port = target.port or 443
    for host in (target.host, f"{target.host}:{port}"):
        if request.proxy_bypass_environment(host, proxies):  # type: ignore[attr-defined]
            return True
    for entry in proxies.get("no", "").split(","):
        try:
            if ipaddress.ip_address(target.host) in ipaddress.ip_network(entry.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False


def _check_certificates() -> None:
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
        except OSError as error:
            reason = "it has no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise NetworkError(
                f"SSL_CERT_FILE={file!r} cannot be used: {reason}; name a PEM file of trusted certificates, or unset "
                "the variable to trust the usual authorities"
            ) from None
    elif folder and not Path(folder).is_dir():
        raise NetworkError(
            f"SSL_CERT_DIR={folder!r} cannot be used: it is not a folder; name a folder of trusted certificates, or "
            "unset the variable to trust the usual authorities"
        )


def _check_key_log() -> None:
    """Raises NetworkError if Python cannot open the file, which it does with the first TLS context of any client."""
    file = os.environ.get("SSLKEYLOGFILE")
    if file:
        try:
            with Path(file).open("ab"):
                pass
        except OSError as error:
            raise NetworkError(
                f"SSLKEYLOGFILE={file!r} cannot be used: {error.strerror}; name a writable file, or unset the variable"
            ) from None

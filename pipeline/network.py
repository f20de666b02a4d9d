"""How this process reaches others: which URLs are well-formed, whose certificates it trusts, and through which proxy.

`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`, `SSL_CERT_DIR` and `SSLKEYLOGFILE` mean what they mean to other programs.
Plain http goes to loopback addresses alone, and never through a proxy. httpx takes long to import, so only who has a
URL to judge or to reach waits for it.
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
    """A variable that says how to reach others holds what cannot be used. The message names it, without its secrets."""


def parsed(url: str) -> httpx.URL:
    """The URL as the client that connects understands it. Raises ValueError where it is none, or its host cannot be."""
    import httpx

    try:
        found = httpx.URL(url)
        host = found.raw_host.decode("ascii")
        # Some escapes are only refused when the name is read as text.
        is_url = bool(found.host) and found.port != 0 and (found.port or 1) <= 65535 and is_host(host)
    except (httpx.InvalidURL, ValueError):
        is_url = False
    if not is_url:
        raise ValueError("not a URL with a host")
    return found


def is_host(host: str) -> bool:
    """Whether a name can be looked up, or is an IP address (IPv6 without brackets)."""
    try:
        return "%" not in host and bool(ipaddress.ip_address(host))
    except ValueError:
        labels = host.removesuffix(".").split(".")
        # What ends in a number is meant for an IPv4 address (RFC 3986 leaves `127.1` to each program's taste).
        is_number = labels[-1].isdecimal() or labels[-1].startswith("0x")
        return len(host) <= _LONGEST_NAME and not is_number and all(map(_LABEL.fullmatch, labels))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as far as its name tells."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check(url: str | None) -> None:
    """Raises NetworkError where the environment keeps this process from reaching the URL; None is loopback."""
    _check_key_log()
    if url is not None and url.lower().startswith("https:"):
        _check_certificates()
        proxy_for(url)


def tls_context() -> ssl.SSLContext:
    """Trusts what `SSL_CERT_FILE` or `SSL_CERT_DIR` names, else certifi's authorities and the machine's own.

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
    """The proxy through which an https URL is reached, its login among its headers; None where there is none.

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
            "HTTPS_PROXY=the value (not shown) is refused: allowed is a proxy's URL such as http://proxy.example:3128"
        )
    if found.raw_auth is None:
        return found
    login = base64.b64encode(b":".join(found.raw_auth)).decode()
    return httpx.Proxy(found.url, headers={"Proxy-Authorization": f"Basic {login}"})


def _is_direct(target: httpx.URL, proxies: dict[str, str]) -> bool:
    """Whether `NO_PROXY` names the host: itself, a domain it is of, its port as well, or a network in CIDR."""
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
            reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise NetworkError(
                f"SSL_CERT_FILE={file!r} cannot be used: {reason}; allowed is a file of trusted certificates in PEM: "
                "mend it, or unset the variable to trust the usual authorities"
            ) from None
    elif folder and not Path(folder).is_dir():
        raise NetworkError(
            f"SSL_CERT_DIR={folder!r} cannot be used: it is no folder; allowed is a folder of trusted certificates: "
            "mend it, or unset the variable to trust the usual authorities"
        )


def _check_key_log() -> None:
    """Python opens this file with the first TLS context, which is before anything is asked over plain http, too."""
    file = os.environ.get("SSLKEYLOGFILE")
    if file:
        try:
            with Path(file).open("ab"):
                pass
        except OSError as error:
            raise NetworkError(
                f"SSLKEYLOGFILE={file!r} cannot be used: {error.strerror}; allowed is a file that can be written: "
                "mend it, or unset the variable"
            ) from None

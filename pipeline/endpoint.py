"""The polled endpoint: its path below the API's prefix, and the URL of a path."""

from __future__ import annotations

STATUS_PATH = "/vm/buy/status"


def endpoint_url(base_url: str, prefix: str, path: str) -> str:
    """The URL of an endpoint's path below a base URL and a prefix such as /api/v1."""
    return base_url + prefix + path

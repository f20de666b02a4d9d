"""The polled endpoint: its path below the API's prefix, and its URL."""

from __future__ import annotations

STATUS_PATH = "/vm/buy/status"


def status_url(base_url: str, prefix: str) -> str:
    """The URL of buy/status below a base URL and a prefix such as /api/v1."""
    return base_url + prefix + STATUS_PATH

"""Posts one JSON message to a webhook, within a bounded time and without showing its URL.

The URL of a webhook is a secret: anybody who has it can post. It is never logged and never part of an error. Redirects
are not followed, because they would send the message elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pipeline.errors import PipelineError
from pipeline.network import NetworkError, check, parsed, proxy_for, tls_context

TIMEOUT = 10.0  # seconds, from the name lookup to the headers of the response


class WebhookError(PipelineError):
    """The message was not delivered. The error has the reason, never the URL."""


def post(url: str, message: Mapping[str, str], variable: str, timeout: float = TIMEOUT) -> None:
    """Posts the message; any 2xx is a success. `variable` names the URL in errors. Raises WebhookError."""
    try:
        check(url)
        asyncio.run(_post(url, message, variable, timeout))
    except NetworkError as error:
        raise WebhookError(f"{variable} could not be reached: {error}") from None


async def _post(url: str, message: Mapping[str, str], variable: str, seconds: float) -> None:
    import aiohttp  # after `check`: with an unusable SSLKEYLOGFILE, the import fails without naming it

    limits = aiohttp.ClientTimeout(total=seconds)
    connector = aiohttp.TCPConnector(ssl=tls_context() if parsed(url).scheme == "https" else False)
    proxy = proxy_for(url)
    through: dict[str, Any] = {"proxy": str(proxy.url), "proxy_headers": proxy.headers} if proxy else {}
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limits) as session,
            session.post(url, json=message, allow_redirects=False, **through) as response,
        ):
            status = response.status
    except TimeoutError:
        raise WebhookError(f"{variable} did not answer within {seconds:g} s") from None
    except aiohttp.ClientHttpProxyError as error:
        raise WebhookError(
            f"{variable} could not be reached: the proxy in HTTPS_PROXY answered HTTP {error.status}"
        ) from None
    # From None: the library's message may contain the URL.
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise WebhookError(f"{variable} could not be reached ({type(error).__name__})") from None
    if not 200 <= status < 300:
        raise WebhookError(f"{variable} answered HTTP {status}: check that its URL is still valid")

"""Images of pulls, loaded only when somebody asks for one.

The page itself may load nothing from elsewhere, as its headers tell the browser. An image is shown in a frame of its
own, whose headers allow that one link and nothing else.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from markupsafe import Markup, escape

from pipeline.explore.markup import worded

PATH = "/image"
_LONGEST_LINK = 2048


@dataclass(frozen=True)
class Pictured:
    """An image that was asked for: name and place of the pull, and its link, which is safe or None."""

    name: str | None
    place: str
    link: str | None


def safe_link(link: str | None) -> str | None:
    """The link if it is an https URL without a user and without characters that would end a header; else None."""
    if link is None or len(link) > _LONGEST_LINK or not link.isascii() or not link.isprintable():
        return None
    try:
        parts = urlsplit(link)
        parts.port  # noqa: B018 - raises ValueError if it is none
    except ValueError:
        return None
    is_whole = parts.scheme == "https" and parts.hostname and "@" not in parts.netloc
    return link if is_whole and not set(link) & set(" ;,'\"\\<>") else None


def picture(pictured: Pictured) -> Markup:
    """The frame with the image that was asked for, and its link as text."""
    if pictured.link is None:
        return Markup("")
    return Markup(
        '<p>{}</p><p class="quiet">{}<br>{}</p>'
        '<iframe class="picture" title="Image of the pull" sandbox referrerpolicy="no-referrer" '
        'src=".{}?link={}"></iframe>'
    ).format(worded("name", pictured.name), pictured.place, pictured.link, PATH, quote(pictured.link, safe=""))


def frame(link: str) -> tuple[str, str]:
    """The document of the frame for a safe link, and its Content-Security-Policy."""
    nonce = secrets.token_urlsafe(16)
    document = Markup(
        '<!DOCTYPE html><meta charset="utf-8"><title>Image</title><style nonce="{}">body {{ margin: 0 }} '
        'img {{ max-width: 100%; max-height: 100vh }}</style><img alt="The image cannot be loaded" src="{}">'
    ).format(nonce, escape(link))
    parts = urlsplit(link)
    source = f"https://{parts.netloc}{quote(parts.path, safe='/%:@!$&()*+=~-._')}"
    return str(document), (
        f"default-src 'none'; img-src {source}; style-src 'nonce-{nonce}'; frame-ancestors 'self'; sandbox"
    )

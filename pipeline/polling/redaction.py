"""Keeps the API key out of everything that is stored or shown, even when a server echoes it."""

from __future__ import annotations

import json
import re

_REDACTED = "[redacted]"
_SHORT = 8  # characters; a shorter key is looked for as a whole word, since innocent text may contain it


class Redaction:
    """Replaces one secret, as it is and as JSON writes it. Without a secret, everything passes unchanged."""

    def __init__(self, secret: str | None) -> None:
        in_json = json.dumps(secret)[1:-1] if secret else ""
        self._forms = sorted({secret, in_json, in_json.replace("/", "\\/")}, key=len, reverse=True) if secret else []
        self._forms_as_bytes = [form.encode() for form in self._forms]
        word = "(?<![A-Za-z0-9]){}(?![A-Za-z0-9])" if secret and len(secret) < _SHORT else "{}"
        pattern = word.format("(?:" + "|".join(map(re.escape, self._forms)) + ")")
        self._in_text = re.compile(pattern)
        self._in_bytes = re.compile(pattern.encode())

    def text(self, text: str) -> str:
        """The text without the secret."""
        return self._in_text.sub(_REDACTED, text) if any(form in text for form in self._forms) else text

    def body(self, body: bytes, is_cut: bool) -> bytes:
        """The body without the secret; of a body that is cut off, also without a part of it at the end."""
        if any(form in body for form in self._forms_as_bytes):
            body = self._in_bytes.sub(_REDACTED.encode(), body)
        return self._without_part_at_end(body) if is_cut else body

    def _without_part_at_end(self, body: bytes) -> bytes:
        for form in self._forms_as_bytes:
            for length in range(len(form) - 1, 0, -1):
                if body.endswith(form[:length]):
                    return body[:-length]
        return body

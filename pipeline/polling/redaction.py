"""Removes the API key from all stored and shown text, even if a server echoes it.

JSON can encode each character in several ways (`e`, `\\u0065`), and URLs in one more (`%65`). The key is found in any
mixture of these encodings, and in UTF-16.
"""

from __future__ import annotations

import re

_REDACTED = "[redacted]"
_SHORT = 8  # characters; a shorter key is matched as a whole word, because other text may contain it
_SHORT_ESCAPES = '"\\/'  # characters of a key that JSON can escape with a backslash only
_SPELLED = re.compile(rb"\\u00([2-7][0-9A-Fa-f])|%([2-7][0-9A-Fa-f])|\\([\"\\/])")
_LONGEST_SPELLING = len(r"\u0065")
_BEGUN_SPELLING = re.compile(rb"(?:\\(?:u(?:0(?:0[2-7]?)?)?)?|%[2-7]?)\Z")


class Redaction:
    """Replaces one secret of printable ASCII characters. Without a secret, everything passes unchanged."""

    def __init__(self, secret: str | None) -> None:
        self._secret = (secret or "").encode("ascii")
        self._is_word = 0 < len(self._secret) < _SHORT
        spelled = "".join(map(_spellings, secret or ""))
        self.spelled = spelled or None  # a regular expression of every spelling, for RE2 as well
        self._pattern = re.compile((_as_word(spelled) if self._is_word else spelled).encode())
        # A secret with these characters may look like an escape, so escapes cannot be decoded first.
        self._has_escapes = any(sign in (secret or "") for sign in "\\%")
        self._wide = [(secret or "").encode(encoding) for encoding in ("utf-16-le", "utf-16-be")]

    def text(self, text: str) -> str:
        """The text without the secret."""
        if not self._secret:
            return text
        body = text.encode("utf-8", "surrogatepass")
        redacted = self.body(body, is_cut=False)
        return text if redacted is body else redacted.decode("utf-8", "surrogatepass")

    def body(self, body: bytes, is_cut: bool) -> bytes:
        """The body without the secret; a truncated body also without a partial secret at its end."""
        if not self._secret:
            return body
        if self._secret in body or self._is_spelled_in(body):
            body = self._pattern.sub(_REDACTED.encode(), body)
        if b"\0" in body:
            for wide in self._wide:
                body = body.replace(wide, _REDACTED.encode())
        return self._without_part_at_end(body) if is_cut else body

    def _is_spelled_in(self, body: bytes) -> bool:
        """Whether the body has the secret with escaped characters. Few bodies have such escapes."""
        if b"\\" not in body and b"%" not in body:
            return False
        return self._has_escapes or self._secret in _SPELLED.sub(_letter, body)

    def _without_part_at_end(self, body: bytes) -> bytes:
        start = max(0, len(body) - len(self._secret) * _LONGEST_SPELLING - _LONGEST_SPELLING)
        tail = _BEGUN_SPELLING.sub(b"", body[start:])
        read, starts = _read(tail)
        for length in range(len(self._secret) - 1, 0, -1):
            if read.endswith(self._secret[:length]):
                return body[: start + starts[len(read) - length]]
        return body


def _spellings(character: str) -> str:
    """A pattern for all encodings of a character, the longest first."""
    code = "".join(f"[{digit.lower()}{digit.upper()}]" for digit in f"{ord(character):02x}")
    ways = [rf"\\u00{code}", f"%{code}", re.escape(character)]
    if character in _SHORT_ESCAPES:
        ways.insert(2, re.escape("\\" + character))
    return f"(?:{'|'.join(ways)})"


def _as_word(pattern: str) -> str:
    return f"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])"


def _letter(escape: re.Match[bytes]) -> bytes:
    code = escape[1] or escape[2]
    return bytes([int(code, 16)]) if code else escape[3]


def _read(tail: bytes) -> tuple[bytes, list[int]]:
    """The decoded characters, and the start of each one's encoding."""
    letters, starts, position = bytearray(), [], 0
    while position < len(tail):
        escape = _SPELLED.match(tail, position)
        letters += _letter(escape) if escape else tail[position : position + 1]
        starts.append(position)
        position = escape.end() if escape else position + 1
    return bytes(letters), starts

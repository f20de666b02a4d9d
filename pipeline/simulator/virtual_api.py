"""buy/status without HTTP, on whatever clock the event loop has: for days of polling in seconds.

The answers are what the server would send; how they travel is left out. Real HTTP is `server`'s business.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.polling.answers import Answer, Outcome

_JSON = {"content-type": "application/json"}
_ANSWERS = {
    Outcome.PENDING: Answer(200, _JSON, b'{"status":"pending"}'),
    Outcome.FAILED: Answer(400, _JSON, b'{"error":"Transaction failed"}'),
    Outcome.MALFORMED: Answer(200, _JSON, b'{"result":[]}'),
}


@dataclass(frozen=True)
class Conduct:
    """How the API behaves. Times are seconds, shares are of all requests.

    `latency` bounds an answer's time on the way, `hold` how long the call of a pending session is held.
    More than `rate_limit` requests within a second get a 429 with `retry_after` (0: no limit).
    """

    latency: tuple[float, float] = (0.02, 0.2)
    hold: float = 0.0
    broken_share: float = 0.0
    dropped_share: float = 0.0
    malformed_share: float = 0.0
    rate_limit: int = 0
    retry_after: float | None = 1.0


@dataclass(frozen=True)
class Fate:
    """What becomes of a session: final at `at`, in seconds of the loop's clock; never, where that is infinite."""

    at: float
    is_failed: bool = False


class Asked(NamedTuple):
    """One request as the API saw it. `answered_at` is None when no answer was sent."""

    number: int
    session_id: str
    asked_at: float
    answered_at: float | None
    outcome: Outcome


class VirtualApi:
    """Answers for sessions whose fates are given. `requests` is what was asked, in the order of the answers.

    Each answer's body carries the number of its request, so that it can be found again.
    """

    def __init__(self, fates: Mapping[str, Fate], conduct: Conduct, rng: random.Random, first_number: int = 0) -> None:
        self.requests: list[Asked] = []
        self.sent_at: list[float] = []
        self._first_number = first_number
        self._fates = fates
        self._conduct = conduct
        self._rng = rng
        self._served: deque[float] = deque()

    async def ask(self, session_id: str) -> Answer:
        """One request, in place of `StatusClient.ask`."""
        time = asyncio.get_running_loop().time
        number, asked_at = self._first_number + len(self.sent_at), time()
        self.sent_at.append(asked_at)
        await asyncio.sleep(self._rng.uniform(*self._conduct.latency))
        fault = self._fault(asked_at)
        outcome = Outcome.TRANSIENT if fault else await self._outcome(session_id)
        if outcome is Outcome.FULFILLED:
            result = {"session_id": session_id, "nfts": [{"id": f"item of {session_id}"}]}
            answer = Answer(200, _JSON, json.dumps({"result": result}).encode())
        else:
            answer = fault or _ANSWERS[outcome]
        self.requests.append(Asked(number, session_id, asked_at, None if answer.status is None else time(), outcome))
        if answer.body is None:
            return answer
        return answer._replace(body=answer.body[:-1] + b',"number":%d}' % number)

    def _fault(self, asked_at: float) -> Answer | None:
        if self._is_over_limit(asked_at):
            retry_after = self._conduct.retry_after
            headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
            return Answer(429, headers, b'{"message":"Rate limit exceeded"}')
        chance = self._rng.random()
        if chance < self._conduct.dropped_share:
            return Answer(None, {}, None, "the connection broke")
        if chance < self._conduct.dropped_share + self._conduct.broken_share:
            return Answer(500, _JSON, b'{"error":"An unexpected error occurred"}')
        return None

    async def _outcome(self, session_id: str) -> Outcome:
        if self._rng.random() < self._conduct.malformed_share:
            return Outcome.MALFORMED
        fate = self._fates[session_id]
        remaining = fate.at - asyncio.get_running_loop().time()
        if remaining > 0:
            await asyncio.sleep(min(remaining, self._conduct.hold))
        if remaining > self._conduct.hold:
            return Outcome.PENDING
        return Outcome.FAILED if fate.is_failed else Outcome.FULFILLED

    def _is_over_limit(self, asked_at: float) -> bool:
        if not self._conduct.rate_limit:
            return False
        while self._served and self._served[0] <= asked_at - 1.0:
            self._served.popleft()
        if len(self._served) >= self._conduct.rate_limit:
            return True
        self._served.append(asked_at)
        return False

"""The API without HTTP, on the event loop's clock: runs days of polling in seconds.

The answers are those of the API without the transport; `server` simulates HTTP.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.polling.answers import Answer, Outcome
from pipeline.simulator.limiters import Limiter, Unlimited

_ON_THE_WAY = 0.1  # share of the latency until the request arrives
_JSON = {"content-type": "application/json"}
_ANSWERS = {
    Outcome.PENDING: Answer(200, _JSON, b'{"status":"pending"}'),
    Outcome.FAILED: Answer(400, _JSON, b'{"error":"Transaction failed"}'),
    Outcome.MALFORMED: Answer(200, _JSON, b'{"result":[]}'),
}


@dataclass(frozen=True)
class Conduct:
    """The behaviour of the API. Times are in seconds, shares are of all requests.

    `latency` has the bounds of an answer's latency; `hold` is the longest time for which a pending session's call is
    held. Requests that `limiter` refuses get a 429 with `retry_after`, None for no header. A limiter has state, so use
    it for one run only.
    """

    latency: tuple[float, float] = (0.02, 0.2)
    hold: float = 0.0
    broken_share: float = 0.0
    dropped_share: float = 0.0
    malformed_share: float = 0.0
    limiter: Limiter = field(default_factory=Unlimited)
    retry_after: float | None = 1.0


@dataclass(frozen=True)
class Fate:
    """The outcome of a session: final at the time `at` of the loop's clock, in seconds; never if infinite."""

    at: float
    is_failed: bool = False


class Asked(NamedTuple):
    """One request as received by the API. `answered_at` is None without an answer; `is_refused` means a 429."""

    number: int
    session_id: str
    asked_at: float
    answered_at: float | None
    outcome: Outcome
    is_refused: bool = False


def status_answer(session_id: str, outcome: Outcome) -> Answer:
    """The answer of buy/status with this meaning."""
    if outcome is not Outcome.FULFILLED:
        return _ANSWERS[outcome]
    result = {"session_id": session_id, "nfts": [{"id": f"item of {session_id}"}]}
    return Answer(200, _JSON, json.dumps({"result": result}).encode())


class VirtualApi:
    """Answers for sessions with given outcomes. `requests` has all requests in the order of their answers.

    `answer` makes the answer of the polled endpoint from a session id and an outcome: a JSON object that is not empty.
    Each body contains the number of its request, for identification.
    """

    def __init__(
        self,
        fates: Mapping[str, Fate],
        conduct: Conduct,
        rng: random.Random,
        first_number: int = 0,
        answer: Callable[[str, Outcome], Answer] = status_answer,
    ) -> None:
        self.requests: list[Asked] = []
        self.sent_at: list[float] = []
        self._first_number = first_number
        self._fates = fates
        self._conduct = conduct
        self._rng = rng
        self._answer = answer

    async def ask(self, session_id: str, _is_fresh: bool = False) -> Answer:
        """One request, in place of `StatusClient.ask`; without connections, the second argument has no effect."""
        time = asyncio.get_running_loop().time
        number, asked_at = self._first_number + len(self.sent_at), time()
        self.sent_at.append(asked_at)
        latency = self._rng.uniform(*self._conduct.latency)
        await asyncio.sleep(_ON_THE_WAY * latency)
        is_refused = not self._conduct.limiter.admits(time())
        await asyncio.sleep((1.0 - _ON_THE_WAY) * latency)
        fault = self._refusal() if is_refused else self._fault()
        outcome = Outcome.TRANSIENT if fault else await self._outcome(session_id)
        answer = fault or self._answer(session_id, outcome)
        answered_at = None if answer.status is None else time()
        self.requests.append(Asked(number, session_id, asked_at, answered_at, outcome, is_refused))
        if answer.body is None:
            return answer
        return answer._replace(body=answer.body[:-1] + b',"number":%d}' % number)

    def _refusal(self) -> Answer:
        retry_after = self._conduct.retry_after
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
        return Answer(429, headers, b'{"message":"Rate limit exceeded"}')

    def _fault(self) -> Answer | None:
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

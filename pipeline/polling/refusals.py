"""Stops a run that the API refuses or that cannot reach it."""

from __future__ import annotations

from pipeline.errors import PipelineError
from pipeline.polling.answers import Answer, Meaning, Outcome

REFUSALS_IN_A_ROW = 20
UNREACHABLE_AFTER = 30.0  # seconds without a successful connection
_EXCERPT = 200


class ApiRefusedError(PipelineError):
    """The API refuses the key or the run. No session changed state; the next run polls all of them again."""


class ApiUnreachableError(PipelineError):
    """No request of the run got a connection. No session changed state; the next run polls all of them again."""


class Watch:
    """Observes every answer of a run and raises if the run should stop."""

    def __init__(self, url: str, started: float) -> None:
        self._url = url
        self._started = started
        self._refused: set[str] = set()
        self._reached = False
        self._last_problem: str | None = None

    def see(self, session_id: str, answer: Answer, meaning: Meaning, now: float) -> None:
        """Observes one answer.

        Raises ApiRefusedError at a 401 and at the 20th refusal in a row from different sessions, and
        ApiUnreachableError after half a minute without a connection.
        """
        if answer.is_unreachable:
            self._last_problem = answer.problem
            if not self._reached and now - self._started >= UNREACHABLE_AFTER:
                raise self._unreachable()
            return
        self._reached = True
        if answer.status is None:
            return
        if meaning.outcome is Outcome.UNAUTHORIZED:
            raise ApiRefusedError(
                f"{self._url} refused the API key with HTTP 401: {_excerpt(answer)}; "
                "set PHYGITALS_API_KEY to a valid key of this environment and run again"
            )
        if meaning.outcome is not Outcome.REFUSED:
            self._refused.clear()
            return
        self._refused.add(session_id)
        if len(self._refused) >= REFUSALS_IN_A_ROW:
            raise ApiRefusedError(
                f"{self._url} refused the last {len(self._refused)} sessions, most recently with HTTP {answer.status}: "
                f"{_excerpt(answer)}; check PHYGITALS_API_URL, PHYGITALS_API_PREFIX and whether this "
                "machine's address is allowed, then run again"
            )

    def check_reached(self) -> None:
        """Raises ApiUnreachableError if requests were sent and none got a connection."""
        if not self._reached and self._last_problem:
            raise self._unreachable()

    def _unreachable(self) -> ApiUnreachableError:
        return ApiUnreachableError(
            f"{self._url} cannot be reached ({self._last_problem}): check the network and "
            "PHYGITALS_API_URL, then run again; the sessions stay pending"
        )


def _excerpt(answer: Answer) -> str:
    text = " ".join((answer.body or b"").decode("utf-8", "replace").split())
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return printable[:_EXCERPT] or "an empty body"

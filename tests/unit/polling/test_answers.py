"""What an answer means: every row of the specification's table."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pipeline.polling.answers import Answer, Meaning, Outcome, interpret, retry_after, with_implausible_wait

ID = "550e8400-e29b-41d4-a716-446655440000"
ITEM = {"id": "x"}
RESULT = {"session_id": ID, "nfts": [ITEM]}


def meaning(body: object, status: int | None = 200, problem: str | None = None) -> Outcome:
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    return interpret(ID, Answer(status, {}, raw, problem)).outcome


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, {"result": RESULT}, Outcome.FULFILLED),
        (200, {"result": {**RESULT, "nfts": [None]}}, Outcome.FULFILLED),
        (200, {"result": RESULT, "new_field": 1}, Outcome.FULFILLED),
        (200, {"status": "pending"}, Outcome.PENDING),
        (200, {"result": {"session_id": ID, "nfts": []}}, Outcome.PENDING),
        (200, {"result": {"session_id": ID, "nfts": None}}, Outcome.PENDING),
        (200, {"result": {"session_id": ID}}, Outcome.PENDING),
        (200, {"result": {}}, Outcome.PENDING),
        (200, b'{"status": "pending", "status": "pending"}', Outcome.MALFORMED),
        (200, {"result": {**RESULT, "nfts": [{}] * 100_001}}, Outcome.MALFORMED),
        (200, json.dumps({"result": RESULT}).encode()[:-1] + b', "result": {}}', Outcome.MALFORMED),
        (200, b'{"result": {"session_id": "other", "session_id": "%s"}}' % ID.encode(), Outcome.PENDING),
        (200, b'{"result": {"session_id": "%s", "nfts": [], "nfts": [{}]}}' % ID.encode(), Outcome.FULFILLED),
        (400, {"error": "Transaction failed"}, Outcome.UNCONFIRMED),
        (400, {"error": "Transaction failed", "trace": "x"}, Outcome.UNCONFIRMED),
        (400, {"error": "Bad request"}, Outcome.REFUSED),
        (400, {"message": "Transaction failed"}, Outcome.REFUSED),
        (400, b"<html>", Outcome.REFUSED),
        (401, {"error": "Invalid API key"}, Outcome.UNAUTHORIZED),
        (401, {"message": "Unauthorized"}, Outcome.UNAUTHORIZED),
        (401, b"", Outcome.UNAUTHORIZED),
        (403, b"<html>cf-ray</html>", Outcome.REFUSED),
        (404, {"error": "Transaction failed"}, Outcome.REFUSED),
        (422, {"error": "x"}, Outcome.REFUSED),
        (408, b"", Outcome.TRANSIENT),
        (429, {"message": "Rate limit exceeded"}, Outcome.TRANSIENT),
        (500, {"error": "An unexpected error occurred"}, Outcome.TRANSIENT),
        (502, b"<html>", Outcome.TRANSIENT),
        (503, {"result": RESULT}, Outcome.TRANSIENT),
        (200, b"", Outcome.MALFORMED),
        (200, b"{", Outcome.MALFORMED),
        (200, b"not json", Outcome.MALFORMED),
        (200, b'{"status": "pend', Outcome.MALFORMED),
        (200, [], Outcome.MALFORMED),
        (200, "pending", Outcome.MALFORMED),
        (200, {}, Outcome.MALFORMED),
        (200, {"status": "done"}, Outcome.MALFORMED),
        (200, {"error": "Transaction failed"}, Outcome.MALFORMED),
        (200, {"result": RESULT, "status": "pending"}, Outcome.MALFORMED),
        (200, {"result": RESULT, "error": "x"}, Outcome.MALFORMED),
        (400, {"error": "Transaction failed", "status": "pending"}, Outcome.MALFORMED),
        (200, {"result": [RESULT]}, Outcome.MALFORMED),
        (200, {"result": None}, Outcome.MALFORMED),
        (200, {"result": {"session_id": ID, "nfts": {"0": ITEM}}}, Outcome.MALFORMED),
        (200, {"result": {**RESULT, "session_id": "another"}}, Outcome.MALFORMED),
        (200, {"result": {"session_id": "another", "nfts": []}}, Outcome.MALFORMED),
        (200, {"result": {**RESULT, "session_id": ID.upper()}}, Outcome.FULFILLED),
        (200, {"result": {**RESULT, "session_id": "{" + ID.upper() + "}"}}, Outcome.FULFILLED),
        (200, {"result": {**RESULT, "session_id": ID.replace("5", "6", 1)}}, Outcome.MALFORMED),
        (200, {"result": {**RESULT, "session_id": None}}, Outcome.MALFORMED),
        (200, {"result": {**RESULT, "session_id": [ID]}}, Outcome.MALFORMED),
        (200, {"result": {"nfts": [ITEM]}}, Outcome.MALFORMED),
        (200, b'{"result": {"nfts": [NaN]}}', Outcome.MALFORMED),
        (200, b'\xff{"status": "pending"}', Outcome.MALFORMED),
        (200, b"[" * 200_000, Outcome.MALFORMED),
        (302, b"", Outcome.MALFORMED),
        (204, b"", Outcome.MALFORMED),
    ],
)
def test_an_answer_means_what_the_specification_says(status, body, outcome):
    assert meaning(body, status) is outcome


@pytest.mark.parametrize(
    ("item", "is_repeated"),
    [
        ('{"a": ":", "b": {"a": 1}}', False),
        ('{"a": "\\u003a", "b": "\\u003A"}', False),
        ('{"a": 1, "a" : 2}', True),
        ('{"a": 1, "\\u0061": 2}', True),
        ('{"b": "\\u003a", "a": 1, "a": 2}', True),
        ('{"b": "\\u003A", "a": {"c": 1}, "a": 2}', True),
        ('{"a": 1, "a": 1e999}', True),
        ('{"a": 1, "a": "\\ud800"}', True),
    ],
)
def test_a_repeated_key_is_noticed_wherever_it_is_and_however_colons_are_written(item, is_repeated):
    body = '{"result": {"session_id": "' + ID + '", "nfts": [' + item + "]}}"
    found = interpret(ID, Answer(200, {}, body.encode(), None))
    assert (found.outcome, found.has_repeated_keys) == (Outcome.FULFILLED, is_repeated)
    assert (found.detail is not None) is is_repeated


def test_repeated_keys_are_noted_beside_an_implausible_wait():
    answer = Answer(200, {"retry-after": "1e9"}, b'{"status": "pending", "a": 1, "a": 2}')
    found = with_implausible_wait(interpret(ID, answer), answer)
    assert found.has_repeated_keys
    assert "its Retry-After is implausible: 1e9" in str(found.detail)


def test_letters_count_in_an_id_that_is_no_uuid():
    assert interpret("abc", Answer(200, {}, b'{"result": {"session_id": "ABC"}}')).outcome is Outcome.MALFORMED
    assert (
        interpret(ID.upper(), Answer(200, {}, b'{"result": {"session_id": "%s"}}' % ID.encode())).outcome
        is Outcome.PENDING
    )


def test_a_byte_order_mark_is_read_over():
    assert meaning(b'\xef\xbb\xbf{"status": "pending"}') is Outcome.PENDING


def test_a_body_that_is_not_whole_is_malformed_even_when_its_beginning_reads_well():
    assert meaning({"status": "pending"}, problem="the body is truncated") is Outcome.MALFORMED


def test_no_answer_is_transient():
    assert meaning(None, None, "no answer within 5 s") is Outcome.TRANSIENT


def test_a_failure_is_final_where_it_confirms_another():
    answer = Answer(400, {}, b'{"error": "Transaction failed"}')
    assert interpret(ID, answer, confirms=True) == Meaning(Outcome.FAILED, "Transaction failed")


def test_only_fulfilled_and_failed_are_final():
    assert {outcome for outcome in Outcome if outcome.is_final} == {Outcome.FULFILLED, Outcome.FAILED}


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("-3", 0.0),
        ("1e9", 1e9),
        ("nan", None),
        ("soon", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2026 00:00:00 +9999999999999999", None),
        ("", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date_and_is_never_negative(header, seconds):
    assert retry_after(Answer(429, {"retry-after": header}, b""), NOW.timestamp()) == seconds

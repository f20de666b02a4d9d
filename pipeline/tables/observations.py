"""Checks of what was received: strange, but kept and counted as it came, so that they warn and block nothing.

What one answer or row shows by itself is a row of `data_issues`; here is what shows between rows, or only in
tables. Receiving what the API's reference does not promise is no error of the pipeline.
"""

from __future__ import annotations

from pipeline.schema import TABLES
from pipeline.tables.rules import Check

_LARGE_QUOTE = 250_000  # USD; dearer than any card the packs are known to hold
_LARGE_MULTIPLE = 1000  # times the session's price
_FEW_SESSIONS = 20  # with fewer resolved, a rate says nothing
_RECENT_DAYS, _FORMER_DAYS = 7, 28


def _observation(table: str, name: str, description: str, offenders: str) -> Check:
    return Check(TABLES[table], name, description, offenders, is_blocking=False)


def _is_of_one_session(column: str, what: str) -> Check:
    return _observation(
        "purchases",
        f"{column}_is_of_one_session",
        f"No two sessions share {what}.",
        f"""
        SELECT {column}, count(*) AS sessions, min(session_id) AS first, max(session_id) AS last
        FROM purchases WHERE {column} IS NOT NULL GROUP BY {column} HAVING count(*) > 1
        """,
    )


_OF_PURCHASES = (
    _is_of_one_session("tx_hash", "a transaction"),
    _is_of_one_session("public_id", "a public id"),
    _observation(
        "purchases",
        "times_are_in_order",
        "No session was initiated after it was submitted, asked before that, or resolved before it was asked.",
        """
        SELECT session_id, initiated_at, submitted_at, first_polled_at, resolved_at FROM purchases
        WHERE initiated_at > submitted_at OR submitted_at > first_polled_at OR first_polled_at > resolved_at
        """,
    ),
    _observation(
        "purchases",
        "fulfilled_is_identified",
        "Each fulfilled purchase has at least one item, a user and a public id.",
        """
        SELECT session_id, pull_count, user_id, public_id FROM purchases
        WHERE status = 'fulfilled' AND (coalesce(pull_count, 0) = 0 OR user_id IS NULL OR public_id IS NULL)
        """,
    ),
    _observation(
        "purchases",
        "pull_count_is_quantity",
        "Each fulfilled purchase has as many items as packs were bought, where that was submitted.",
        "SELECT session_id, quantity, pull_count FROM purchases WHERE status = 'fulfilled' AND pull_count <> quantity",
    ),
    _observation(
        "purchases",
        "is_of_one_environment",
        "Transactions are a sandbox's or real ones, never both in one data directory.",
        """
        SELECT is_sandbox, count(*) AS purchases, min(session_id) AS for_example FROM purchases
        WHERE (SELECT count(DISTINCT is_sandbox) FROM purchases) > 1 AND is_sandbox IS NOT NULL GROUP BY is_sandbox
        """,
    ),
)

_OF_PULLS = (
    _observation(
        "pulls",
        "item_is_pulled_once_a_session",
        "No session has an item twice.",
        """
        SELECT session_id, item_id, list(pull_number ORDER BY pull_number) AS pull_numbers
        FROM pulls WHERE item_id IS NOT NULL GROUP BY ALL HAVING count(*) > 1
        """,
    ),
    _observation(
        "pulls",
        "mint_address_is_the_item",
        "Each mint address is the item's id, in the 32 to 44 characters of base 58.",
        """
        SELECT session_id, pull_number, item_id, mint_address FROM pulls
        WHERE mint_address IS NOT NULL AND (item_id IS DISTINCT FROM mint_address
            OR NOT regexp_full_match(mint_address, '[1-9A-HJ-NP-Za-km-z]{32,44}'))
        """,
    ),
    _observation(
        "pulls",
        "type_agrees_with_chain",
        "Items of type enft are on-chain, and a sandbox's of type ebay are not.",
        """
        SELECT pulls.session_id, pull_number, item_type, mint_address FROM pulls
        LEFT JOIN purchases AS sandbox ON sandbox.session_id = pulls.session_id AND sandbox.is_sandbox
        WHERE (item_type = 'enft' AND NOT is_on_chain)
            OR (item_type = 'ebay' AND is_on_chain AND sandbox.session_id IS NOT NULL)
        """,
    ),
    _observation(
        "pulls",
        "on_chain_items_are_complete",
        "Each on-chain item has a collection and a token standard, and its purchase a transaction.",
        """
        SELECT pulls.session_id, pull_number, collection_address, token_standard, tx_hash
        FROM pulls JOIN purchases ON purchases.session_id = pulls.session_id
        WHERE is_on_chain AND (collection_address IS NULL OR token_standard IS NULL OR tx_hash IS NULL)
        """,
    ),
    _observation(
        "pulls",
        "quotes_are_plausible",
        f"No quote is above {_LARGE_QUOTE:,} USD or {_LARGE_MULTIPLE:,} times the session's price, "
        "or finer than a cent.",
        f"""
        SELECT session_id, pull_number, buyback_price_usd, price_usd FROM pulls
        WHERE buyback_price_usd > {_LARGE_QUOTE}
            OR (price_usd > 0 AND buyback_price_usd::DOUBLE > price_usd::DOUBLE * {_LARGE_MULTIPLE})
            OR buyback_price_usd <> round(buyback_price_usd, 2)
        ORDER BY buyback_price_usd DESC
        """,
    ),
    _observation(
        "pulls",
        "images_have_a_known_scheme",
        "Each image's address begins with https, http, ipfs, ar or data.",
        """
        SELECT session_id, pull_number, left(url, 80) AS address
        FROM (SELECT session_id, pull_number, unnest([image_url, back_image_url]) AS url FROM pulls)
        WHERE NOT regexp_matches(url, '^(https?|ipfs|ar)://.|^data:.', 'i')
        """,
    ),
    _observation(
        "pulls",
        "names_are_what_they_look_like",
        "No word of a name mixes alphabets that look alike, and no name turns the direction of writing or holds a "
        "replaced character.",
        r"""
        SELECT session_id, pull_number, name FROM pulls
        WHERE regexp_matches(name, '\p{Latin}[\p{Cyrillic}\p{Greek}]|[\p{Cyrillic}\p{Greek}]\p{Latin}')
            OR regexp_matches(name, '[\x{200E}\x{200F}\x{202A}-\x{202E}\x{2066}-\x{2069}\x{FFFD}]')
        """,
    ),
)

_OF_ITEMS = (
    _observation(
        "items",
        "certificate_is_of_one_item",
        "No two items have the same grader's certificate.",
        """
        SELECT grader, cert_digits, count(*) AS items, min(item_id) AS first, max(item_id) AS last FROM items
        WHERE grader IS NOT NULL AND cert_digits IS NOT NULL GROUP BY ALL HAVING count(*) > 1
        """,
    ),
    _observation(
        "items",
        "card_facts_can_be_read",
        "Each certificate, year and grade that a vendor names could be read; the text stays beside it.",
        """
        SELECT item_id, cert_number, year, grade FROM items
        WHERE (cert_number IS NOT NULL AND cert_digits IS NULL) OR (year IS NOT NULL AND year_number IS NULL)
            OR (grade IS NOT NULL AND grade_number IS NULL AND grade_label IS NULL)
        """,
    ),
)

_RATES = f"""
    SELECT sum(failed) FILTER (age < {_RECENT_DAYS}) AS failed,
        sum(failed + fulfilled) FILTER (age < {_RECENT_DAYS}) AS resolved,
        sum(failed) FILTER (age >= {_RECENT_DAYS}) AS former_failed,
        sum(failed + fulfilled) FILTER (age >= {_RECENT_DAYS}) AS former_resolved
    FROM (SELECT *, (SELECT max(submitted_date) FROM resolution_funnel) - submitted_date AS age FROM resolution_funnel)
    WHERE age < {_RECENT_DAYS + _FORMER_DAYS}
"""

_OF_MARTS = (
    _observation(
        "resolution_funnel",
        "failed_rate_is_usual",
        f"Sessions of the last {_RECENT_DAYS} days fail no more often than those of the {_FORMER_DAYS} days before, "
        "as far as the Wilson 95 % intervals of both rates tell.",
        f"""
        SELECT * FROM ({_RATES})
        WHERE resolved >= {_FEW_SESSIONS} AND former_resolved >= {_FEW_SESSIONS}
            AND wilson_low(failed, resolved) > wilson_high(former_failed, former_resolved)
        """,
    ),
    _observation(
        "resolution_funnel",
        "not_everything_fails",
        "Not every session of the last days failed; if so, suspect a wrong environment or a wiped sandbox, not users.",
        f"SELECT failed, resolved FROM ({_RATES}) WHERE resolved >= {_FEW_SESSIONS} AND failed = resolved",
    ),
    _observation(
        "data_issues",
        "has_no_errors",
        "No finding is an error: nothing was rejected, malformed or contradictory.",
        """
        SELECT rule, count(*) AS findings, max(observed_at)::VARCHAR AS latest,
            arg_max(coalesce(source || ': ', '') || detail, observed_at) AS for_example
        FROM data_issues WHERE severity = 'error' GROUP BY rule ORDER BY findings DESC
        """,
    ),
    _observation(
        "data_issues",
        "has_no_schema_drift",
        "Answers have the fields, types of values and item types that the API's reference names, and no others.",
        """
        SELECT rule, field, detail, raw_value AS value
        FROM data_issues WHERE rule IN ('unknown_field', 'changed_type', 'new_item_type') ORDER BY observed_at DESC
        """,
    ),
)

OBSERVATIONS = (*_OF_PURCHASES, *_OF_PULLS, *_OF_ITEMS, *_OF_MARTS)

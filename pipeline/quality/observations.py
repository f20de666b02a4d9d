"""Checks of received data. They warn or note and never block, since unusual data are valid input.

An issue of a single answer or row is a row of `data_issues`; these checks compare rows or tables.
"""

from __future__ import annotations

from pipeline.quality.rules import Check, Severity, of_each_row
from pipeline.schema import TABLES
from pipeline.schema.table import Partition

_LARGE_QUOTE = 250_000  # USD; above any card known to be in the packs
_LARGE_MULTIPLE = 1000  # times the session's price
_LONGEST_NAME = 32  # characters; the maximum length of an on-chain name
_FEW_SESSIONS = 20  # with fewer resolved sessions, a rate is meaningless
_RECENT_DAYS = 7


def _observation(
    table: str,
    name: str,
    description: str,
    offenders: str,
    severity: Severity = Severity.WARNING,
    compared: str | None = None,
    cut_by: Partition = Partition.NONE,
) -> Check:
    return Check(TABLES[table], name, description, offenders, severity, compared, cut_by=cut_by)


def _of_each_row(
    table: str,
    name: str,
    description: str,
    shown: str,
    condition: str,
    severity: Severity = Severity.WARNING,
    order: str = "",
) -> Check:
    return of_each_row(TABLES[table], name, description, shown.split(), condition, severity, order)


def _is_of_one_session(column: str, what: str) -> Check:
    def sharing(of_purchases: str) -> str:
        return f"""
            SELECT {column}, count(*) AS sessions, min(session_id) AS first, max(session_id) AS last
            FROM purchases WHERE {of_purchases} GROUP BY {column} HAVING count(*) > 1
        """

    return Check(
        TABLES["purchases"],
        f"{column}_is_of_one_session",
        f"No two sessions share {what}.",
        sharing(f"{column} IS NOT NULL"),
        Severity.WARNING,
        cut_by=Partition.SUBMITTED,
        among_changed=sharing(f"{column} IN (SELECT {column} FROM changed_purchases)"),
    )


_OF_PURCHASES = (
    _is_of_one_session("tx_hash", "a transaction"),
    _is_of_one_session("public_id", "a public id"),
    _of_each_row(
        "purchases",
        "times_are_in_order",
        "No session was initiated after its submission, polled before it, or resolved before its first poll.",
        "session_id initiated_at submitted_at first_polled_at resolved_at",
        "initiated_at > submitted_at OR submitted_at > first_polled_at OR first_polled_at > resolved_at",
    ),
    _of_each_row(
        "purchases",
        "fulfilled_is_identified",
        "Each fulfilled purchase has at least one item, a user and a public id.",
        "session_id pull_count user_id public_id",
        "status = 'fulfilled' AND (coalesce(pull_count, 0) = 0 OR user_id IS NULL OR public_id IS NULL)",
    ),
    _of_each_row(
        "purchases",
        "pull_count_is_quantity",
        "Each fulfilled purchase has as many items as its submitted quantity, if there is one.",
        "session_id quantity pull_count",
        "status = 'fulfilled' AND pull_count <> quantity",
    ),
    _observation(
        "purchases",
        "is_of_one_environment",
        "A data directory has sandbox transactions or production transactions, not both.",
        """
        SELECT is_sandbox, count(*) AS purchases, min(session_id) AS for_example FROM purchases
        WHERE (SELECT count(DISTINCT is_sandbox) FROM purchases) > 1 AND is_sandbox IS NOT NULL GROUP BY is_sandbox
        """,
    ),
)

# The highest quote that a pack's tiers allow, for packs whose tiers all have an upper bound.
_HIGHEST_QUOTES = """
    SELECT pack_id, max(quote_high_usd) AS highest_usd
    FROM reference_tiers
    GROUP BY pack_id
    HAVING count(quote_high_usd) = count(*)
"""


def _is_in_one_session_at_a_time(name: str, description: str, whose: str, held_until: str, severity: Severity) -> Check:
    """A check that no session starts with an item that another session still holds.

    A session holds an item from buy/init, whose response already names it, until the item is sold back, which requires
    a fulfilled session. `held_until` is the latest time at which the session is known to hold it. Only recent days are
    compared, since all pulls of an item have to be sorted.
    """

    held_from = "started_at(initiated_at, submitted_at)"

    def offenders(of_pulls: str, of_sessions: str) -> str:
        return f"""
            WITH sessions AS (
                SELECT session_id, {held_from} AS held_from, {held_until} AS held_until
                FROM purchases WHERE {whose} AND {of_sessions}
            ),
            pulled AS (
                SELECT item_id, session_id FROM pulls
                WHERE {of_pulls}
                    AND resolved_at >
                        (SELECT max(resolved_at) FROM pulls WHERE resolved_at <= now()) - to_days({_RECENT_DAYS})
            ),
            recurring AS (
                SELECT DISTINCT item_id, session_id FROM pulled
                -- Numbers are compared faster than texts, and days of pulls have to be.
                SEMI JOIN (
                    SELECT item_id FROM pulled
                    GROUP BY item_id HAVING min(hash(session_id)) <> max(hash(session_id))
                ) USING (item_id)
            )
            SELECT item_id, former.session_id, former.held_until, session_id AS other_session_id, held_from
            FROM (
                SELECT *, max({{'held_until': held_until, 'session_id': session_id}}) OVER (
                    PARTITION BY item_id ORDER BY held_from, session_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ) AS former
                FROM recurring JOIN sessions USING (session_id) WHERE held_until IS NOT NULL
            )
            WHERE held_from <= former.held_until
            ORDER BY held_from DESC, item_id
        """

    # A session that had ended before any of the changed ones began shares no item with them.
    earliest = f"SELECT min({held_from}) FROM purchases SEMI JOIN changed_pulls USING (session_id)"
    return Check(
        TABLES["pulls"],
        name,
        description,
        offenders("item_id IS NOT NULL", "true"),
        severity,
        cut_by=Partition.OBSERVED,
        among_changed=offenders(
            "item_id IN (SELECT item_id FROM changed_pulls) AND session_id IN (SELECT session_id FROM sessions)",
            f"greatest({held_from}, {held_until}) >= ({earliest})",
        ),
    )


_OF_PULLS = (
    _is_in_one_session_at_a_time(
        "item_is_in_one_session_at_a_time",
        f"In the last {_RECENT_DAYS} days no session began while another session with the same item was pending. "
        "After fulfilment the item may be sold back and pulled again.",
        whose="is_sandbox IS NOT TRUE",
        held_until="greatest(plausible_time(initiated_at, submitted_at), "
        "CASE WHEN last_pending_at < resolved_at THEN last_pending_at END)",
        severity=Severity.WARNING,
    ),
    # A sandbox never answers `pending`, and gives one listing to several users.
    _is_in_one_session_at_a_time(
        "item_is_in_one_session_of_a_sandbox_at_a_time",
        f"In the last {_RECENT_DAYS} days no sandbox session began while another one with the same item had no answer. "
        "A sandbox may allow this, hence a note instead of a warning.",
        whose="is_sandbox",
        held_until="resolved_at",
        severity=Severity.INFO,
    ),
    _observation(
        "pulls",
        "item_is_pulled_once_a_session",
        "No session has an item twice.",
        """
        SELECT session_id, item_id, list(pull_number ORDER BY pull_number) AS pull_numbers
        FROM pulls WHERE item_id IS NOT NULL GROUP BY ALL HAVING count(*) > 1
        """,
        cut_by=Partition.OBSERVED,
    ),
    _of_each_row(
        "pulls",
        "mint_address_is_the_item",
        "Each mint address is the item's id, and has 32 to 44 characters of base 58.",
        "session_id pull_number item_id mint_address",
        """
        mint_address IS NOT NULL AND (item_id IS DISTINCT FROM mint_address
            OR NOT regexp_full_match(mint_address, '[1-9A-HJ-NP-Za-km-z]{32,44}'))
        """,
    ),
    _observation(
        "pulls",
        "type_agrees_with_chain",
        "Items of type enft are on-chain; sandbox items of type ebay are not.",
        """
        SELECT pulls.session_id, pull_number, item_type, mint_address FROM pulls
        LEFT JOIN purchases AS sandbox ON sandbox.session_id = pulls.session_id AND sandbox.is_sandbox
        WHERE (item_type = 'enft' AND NOT is_on_chain)
            OR (item_type = 'ebay' AND is_on_chain AND sandbox.session_id IS NOT NULL)
        """,
        cut_by=Partition.OBSERVED,
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
        cut_by=Partition.OBSERVED,
    ),
    _of_each_row(
        "pulls",
        "quotes_are_plausible",
        f"No quote is above {_LARGE_QUOTE:,} USD or {_LARGE_MULTIPLE:,} times the session's price, "
        "or finer than a cent.",
        "session_id pull_number buyback_price_usd session_price_usd",
        f"""
        buyback_price_usd > {_LARGE_QUOTE}
            OR (session_price_usd > 0 AND buyback_price_usd::DOUBLE > session_price_usd::DOUBLE * {_LARGE_MULTIPLE})
            OR buyback_price_usd <> round(buyback_price_usd, 2)
        """,
        order="ORDER BY buyback_price_usd DESC",
    ),
    _observation(
        "pulls",
        "quotes_are_within_the_tiers",
        "No quote is above the bound of the pack's highest tier: its upper fair market value times the buyback "
        "percentage, if reference/packs.csv has both.",
        f"""
        SELECT session_id, pull_number, pack_id, buyback_price_usd, highest_usd
        FROM pulls JOIN ({_HIGHEST_QUOTES}) USING (pack_id)
        WHERE buyback_price_usd > highest_usd
        ORDER BY buyback_price_usd DESC
        """,
        compared=f"SELECT pack_id FROM ({_HIGHEST_QUOTES}) SEMI JOIN pulls USING (pack_id)",
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
        cut_by=Partition.OBSERVED,
    ),
    _of_each_row(
        "pulls",
        "names_are_what_they_look_like",
        "No word of a name mixes similar alphabets, and no name has a character for the direction of writing or a "
        "replacement character.",
        "session_id pull_number name",
        r"""
        regexp_matches(name, '\p{Latin}[\p{Cyrillic}\p{Greek}]|[\p{Cyrillic}\p{Greek}]\p{Latin}')
            OR regexp_matches(name, '[\x{200E}\x{200F}\x{202A}-\x{202E}\x{2066}-\x{2069}\x{FFFD}]')
        """,
    ),
)

_OF_ITEMS = (
    _observation(
        "items",
        "names_are_whole",
        f"No name is exactly {_LONGEST_NAME} characters long, the length at which some vendors cut names. One note per "
        "item type.",
        f"""
        SELECT item_type, count(*) FILTER (length(name) = {_LONGEST_NAME}) AS items_that_may_be_cut,
            count(name) AS items_with_a_name, min(name) FILTER (length(name) = {_LONGEST_NAME}) AS for_example
        FROM items GROUP BY item_type HAVING items_that_may_be_cut > 0 ORDER BY items_that_may_be_cut DESC
        """,
        Severity.INFO,
    ),
    _of_each_row(
        "items",
        "traits_are_given_once",
        "No item has a trait more than once; columns derived from traits use the first.",
        "item_id name",
        "is_trait_repeated",
        Severity.INFO,
    ),
    _observation(
        "items",
        "certificate_is_of_one_item",
        "No two items have the same grader and certificate number.",
        """
        SELECT grader, cert_digits, count(*) AS items, min(item_id) AS first, max(item_id) AS last FROM items
        WHERE grader IS NOT NULL AND cert_digits IS NOT NULL GROUP BY ALL HAVING count(*) > 1
        """,
    ),
    _of_each_row(
        "items",
        "card_facts_can_be_read",
        "Each certificate number, year and grade from a vendor can be read; its text is kept in any case.",
        "item_id cert_number year grade",
        """
        (cert_number IS NOT NULL AND cert_digits IS NULL) OR (year IS NOT NULL AND year_number IS NULL)
            OR (grade IS NOT NULL AND grade_number IS NULL AND grade_label IS NULL)
        """,
    ),
)

_RATES = f"""
    SELECT sum(failed) AS failed, sum(failed + fulfilled) AS resolved
    FROM resolution_funnel CROSS JOIN (
        SELECT max(submitted_date) AS latest FROM resolution_funnel WHERE submitted_date <= now()::DATE)
    WHERE submitted_date > latest - {_RECENT_DAYS} AND submitted_date <= latest
"""

_OF_MARTS = (
    _observation(
        "daily_signals",
        "failed_rate_is_usual",
        "The failed rate of the latest completed day is not above its upper control limit from the 28 days before.",
        """
        SELECT signal_date::VARCHAR AS day, sentence FROM daily_signals
        WHERE signal = 'failed_rate' AND is_unusual AND z > 0
            AND signal_date = (SELECT max(signal_date) FROM daily_signals WHERE signal = 'failed_rate')
        """,
    ),
    _observation(
        "resolution_funnel",
        "not_everything_fails",
        "Not all sessions of the last days failed; if they did, suspect a wrong environment or a wiped sandbox.",
        f"SELECT failed, resolved FROM ({_RATES}) WHERE resolved >= {_FEW_SESSIONS} AND failed = resolved",
    ),
    _observation(
        "data_issues",
        "has_no_errors",
        "No issue is an error: no row was rejected and no answer is malformed or contradictory.",
        """
        SELECT rule, count(*) AS findings, max(observed_at)::VARCHAR AS latest,
            arg_max(coalesce(source || ': ', '') || detail, observed_at) AS for_example
        FROM data_issues WHERE severity = 'error' GROUP BY rule ORDER BY findings DESC
        """,
    ),
    _observation(
        "data_issues",
        "has_no_schema_drift",
        "Answers have only the fields, types of values and item types of the API's reference.",
        """
        SELECT rule, field, detail, raw_value AS value
        FROM data_issues WHERE rule IN ('unknown_field', 'changed_type', 'new_item_type') ORDER BY observed_at DESC
        """,
    ),
)

OBSERVATIONS = (*_OF_PURCHASES, *_OF_PULLS, *_OF_ITEMS, *_OF_MARTS)

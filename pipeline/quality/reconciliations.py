"""Checks that counts and sums agree between tables. A failure means wrong figures, so all are blocking."""

from __future__ import annotations

from pipeline.quality.rules import Check, of_each_row
from pipeline.schema import TABLES
from pipeline.schema.table import Partition


def _adds_up_to_pulls(table: str) -> Check:
    return Check(
        TABLES[table],
        "counts_every_pull",
        f"The counts and sums of {table} equal the rows and the sum of pulls.",
        f"""
        SELECT counted, pulls, counted_usd, pulls_usd
        FROM (SELECT coalesce(sum(pull_count), 0) AS counted, sum(buyback_total_usd) AS counted_usd FROM {table}),
            (SELECT count(*) AS pulls, sum(buyback_price_usd) AS pulls_usd FROM pulls)
        WHERE counted <> pulls OR counted_usd <> pulls_usd
        """,
    )


RECONCILIATIONS = (
    Check(
        TABLES["purchases"],
        "every_accepted_session_is_a_purchase",
        "The purchases are exactly the sessions of accepted rows.",
        """
        SELECT session_id, submitted, purchased
        FROM (SELECT DISTINCT session_id, true AS submitted FROM session_submissions WHERE rejected_reason IS NULL)
        FULL JOIN (SELECT session_id, true AS purchased FROM purchases) USING (session_id)
        WHERE submitted IS NULL OR purchased IS NULL
        """,
        cut_by=Partition.SUBMITTED,
        # A session of several rows is a purchase of the first one's part, which need not have changed.
        among_changed="""
        SELECT DISTINCT session_id, true AS submitted, NULL AS purchased
        FROM changed_session_submissions ANTI JOIN purchases USING (session_id)
        WHERE rejected_reason IS NULL
        UNION ALL
        SELECT session_id, NULL, true
        FROM changed_purchases ANTI JOIN (
            SELECT session_id FROM session_submissions WHERE rejected_reason IS NULL
        ) USING (session_id)
        """,
    ),
    Check(
        TABLES["purchases"],
        "every_resolution_is_an_answer",
        "Each fulfilled or failed purchase has a matching answer in raw at its resolution time.",
        """
        SELECT session_id, status, resolved_at FROM purchases
        ANTI JOIN status_responses AS answers ON answers.session_id = purchases.session_id
            AND answers.received_at = purchases.resolved_at AND answers.outcome = purchases.status
        WHERE status IN ('fulfilled', 'failed')
        """,
        cut_by=Partition.OBSERVED,
    ),
    of_each_row(
        TABLES["purchases"],
        "only_final_purchases_are_resolved",
        "Exactly the final purchases have a resolution time; only fulfilled purchases have items.",
        ["session_id", "status", "resolved_at", "pull_count"],
        """
        (status IN ('fulfilled', 'failed')) <> (resolved_at IS NOT NULL)
            OR (status <> 'fulfilled' AND (pull_count IS NOT NULL OR buyback_value_usd IS NOT NULL))
        """,
    ),
    Check(
        TABLES["pulls"],
        "every_item_is_a_pull",
        "Each fulfilled purchase has one pull per item of its answer, with the same sum of quotes.",
        """
        SELECT session_id, any_value(purchases.pull_count) AS item_count, count(pulls.pull_number) AS pull_rows,
            any_value(buyback_value_usd) AS answer_usd, sum(buyback_price_usd) AS pulls_usd
        FROM purchases LEFT JOIN pulls USING (session_id)
        WHERE status = 'fulfilled'
        GROUP BY session_id
        HAVING item_count <> pull_rows OR answer_usd IS DISTINCT FROM TRY_CAST(pulls_usd AS DECIMAL(18,4))
        """,
        cut_by=Partition.OBSERVED,
    ),
    Check(
        TABLES["item_attributes"],
        "every_attribute_is_kept",
        "Each fulfilled purchase has all attributes of its answer, except entries that are not objects.",
        """
        SELECT session_id, answered, kept
        FROM (
            SELECT results.session_id,
                sum(list_sum(list_transform(attributes, lambda a: len(a)))) AS answered
            FROM fulfilled_results AS results
            SEMI JOIN purchases ON purchases.session_id = results.session_id
                AND purchases.status = 'fulfilled' AND purchases.resolved_at = results.received_at
            GROUP BY ALL
        ) FULL JOIN (SELECT session_id, count(*) AS kept FROM item_attributes GROUP BY ALL) USING (session_id)
        WHERE coalesce(answered, 0) <> coalesce(kept, 0)
        """,
        cut_by=Partition.OBSERVED,
    ),
    Check(
        TABLES["items"],
        "counts_every_pull",
        "The pull counts of all items add up to the pulls with an item.",
        """
        SELECT counted, pulls
        FROM (SELECT coalesce(sum(pull_count), 0) AS counted FROM items),
            (SELECT count(item_id) AS pulls FROM pulls)
        WHERE counted <> pulls
        """,
    ),
    _adds_up_to_pulls("item_types"),
    _adds_up_to_pulls("buyback_values"),
    Check(
        TABLES["pack_economics"],
        "counts_every_priced_purchase",
        "Each pack has the purchases, pulls and prices of the sessions submitted with that pack and a price.",
        """
        SELECT pack_id, packs.purchase_count - reference_price_count AS counted, priced.purchase_count AS purchases,
            packs.pull_count AS counted_pulls, priced.pull_count AS pulls,
            coalesce(spend_usd, 0) + unquoted_spend_usd AS counted_usd, priced_usd
        FROM pack_economics AS packs FULL JOIN (
            SELECT pack_id, count(*) AS purchase_count, coalesce(sum(pull_count), 0) AS pull_count,
                total(CASE WHEN status = 'fulfilled' THEN price_usd END) AS priced_usd
            FROM purchases WHERE pack_id IS NOT NULL AND price_usd IS NOT NULL
            GROUP BY pack_id
        ) AS priced USING (pack_id)
        WHERE coalesce(counted, 0) <> coalesce(purchases, 0)
            -- These columns do not separate the sessions priced from the packs file.
            OR (reference_price_count = 0
                AND (counted_pulls IS DISTINCT FROM pulls OR counted_usd IS DISTINCT FROM priced_usd))
        """,
    ),
    of_each_row(
        TABLES["pack_economics"],
        "every_quoted_pull_has_a_band",
        "Each quoted pull is in one band of multiples, and each pull is quoted, unquoted or free.",
        ["pack_id", "quoted_pull_count", "unquoted_pull_count", "free_pull_count", "pull_count"],
        """
        quoted_pull_count <> multiple_below_0_5_count + multiple_0_5_to_1_count + multiple_1_to_2_count
                + multiple_2_to_5_count + multiple_5_to_20_count + multiple_20_and_above_count
            OR unquoted_pull_count < 0
            OR pull_count <> quoted_pull_count + unquoted_pull_count + free_pull_count
        """,
    ),
    Check(
        TABLES["resolution_funnel"],
        "counts_every_purchase",
        "The statuses of each day add up to its submitted sessions, and the days to all purchases.",
        """
        SELECT submitted_date::VARCHAR AS day, submitted, fulfilled + failed + pending + expired AS counted
        FROM resolution_funnel
        WHERE submitted <> counted
        UNION ALL
        SELECT 'all days', purchases, counted
        FROM (SELECT count(*) AS purchases FROM purchases),
            (SELECT coalesce(sum(submitted), 0) AS counted FROM resolution_funnel)
        WHERE purchases <> counted
        """,
    ),
    Check(
        TABLES["daily_type_mix"],
        "counts_every_pull",
        "The pull counts of all days and types add up to the rows of pulls.",
        """
        SELECT (SELECT coalesce(sum(pull_count), 0) FROM daily_type_mix) AS counted,
            (SELECT count(*) FROM pulls) AS pulls
        WHERE counted <> pulls
        """,
    ),
    Check(
        TABLES["pending_ageing"],
        "counts_every_pending_session",
        "The session counts of all age bands add up to the pending purchases.",
        """
        SELECT (SELECT coalesce(sum(session_count), 0) FROM pending_ageing) AS counted,
            (SELECT count(*) FROM purchases WHERE status = 'pending') AS pending
        WHERE counted <> pending
        """,
    ),
    Check(
        TABLES["buyback_outstanding"],
        "a_longer_window_holds_no_less",
        "No window has more pulls than a longer one.",
        """
        SELECT a.window_days, a.pull_count, b.window_days AS longer, b.pull_count AS pulls_of_the_longer
        FROM buyback_outstanding AS a JOIN buyback_outstanding AS b ON a.window_days < b.window_days
        WHERE a.pull_count > b.pull_count
        """,
    ),
    Check(
        TABLES["tier_hit_rates"],
        "counts_every_quoted_pull",
        "The hits inside and outside a pack's tiers add up to its quoted pulls since the first version of its tiers.",
        """
        SELECT pack_id, counted, pulls
        FROM (SELECT pack_id, sum(hit_count) AS counted FROM tier_hit_rates GROUP BY pack_id)
        JOIN (
            SELECT pack_id, count(buyback_price_usd) AS pulls
            FROM pulls JOIN (
                SELECT pack_id, min(coalesce(valid_from, DATE '-infinity')) AS first_day
                FROM reference_tiers
                GROUP BY pack_id
                HAVING count(buyback_share) = count(*)
            ) USING (pack_id)
            WHERE utc_day(pulled_at) >= first_day
            GROUP BY pack_id
        ) USING (pack_id)
        WHERE counted <> pulls
        """,
    ),
)

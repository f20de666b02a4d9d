"""Changes to a lake that its checks must notice."""

from __future__ import annotations

import re

from pipeline.quality.rules import Check
from pipeline.schema import TABLES
from pipeline.schema.table import Table

# For each check, the change to the lake that it must notice.
BREAKS = {
    "pulls.refers_to_purchases": "UPDATE pulls SET session_id = 'nobody' WHERE session_id = 's1'",
    "item_attributes.refers_to_pulls": "UPDATE item_attributes SET pull_number = 99 WHERE session_id = 's1'",
    "items.refers_to_pulls": "UPDATE items SET item_id = 'nothing' WHERE item_id = (SELECT min(item_id) FROM items)",
    "buyback_values.refers_to_item_types": "UPDATE buyback_values SET item_type = 'cards'",
    "pack_economics.refers_to_purchases": "UPDATE pack_economics SET pack_id = 'another'",
    "purchases.every_accepted_session_is_a_purchase": "DELETE FROM purchases WHERE session_id = 's1'",
    "purchases.every_resolution_is_an_answer": "UPDATE purchases SET resolved_at = resolved_at - INTERVAL 1 DAY",
    "purchases.only_final_purchases_are_resolved": "UPDATE purchases SET resolved_at = NULL WHERE session_id = 's1'",
    "pulls.every_item_is_a_pull": "DELETE FROM pulls WHERE session_id = 's1'",
    "item_attributes.every_attribute_is_kept": "DELETE FROM item_attributes WHERE attribute_number = 2",
    "items.counts_every_pull": "UPDATE items SET pull_count = pull_count + 1",
    "item_types.counts_every_pull": "UPDATE item_types SET buyback_total_usd = buyback_total_usd + 0.0001",
    "buyback_values.counts_every_pull": "UPDATE buyback_values SET pull_count = pull_count + 1",
    "pack_economics.counts_every_priced_purchase": "UPDATE pack_economics SET spend_usd = spend_usd + 1",
    "pack_economics.every_quoted_pull_has_a_band": "UPDATE pack_economics SET multiple_1_to_2_count = 99",
    "resolution_funnel.counts_every_purchase": "UPDATE resolution_funnel SET failed = failed + 1",
    "daily_type_mix.counts_every_pull": "UPDATE daily_type_mix SET pull_count = pull_count + 1",
    "pending_ageing.counts_every_pending_session": "UPDATE pending_ageing SET session_count = session_count + 1",
    "buyback_outstanding.a_longer_window_holds_no_less": "UPDATE buyback_outstanding SET pull_count = -window_days",
    "tier_hit_rates.counts_every_quoted_pull": "UPDATE tier_hit_rates SET hit_count = hit_count + 1",
    "sellbacks.refers_to_pulls": "UPDATE sellbacks SET pull_number = 99",
    "top_pulls.refers_to_pulls": "UPDATE top_pulls SET pull_number = 99 WHERE pull_rank = 1",
    "repulled_items.refers_to_items": "UPDATE repulled_items SET item_id = 'nothing'",
    "purchases.tx_hash_is_of_one_session": "UPDATE purchases SET tx_hash = 'the same'",
    "purchases.public_id_is_of_one_session": "UPDATE purchases SET public_id = 'the same'",
    "purchases.times_are_in_order": "UPDATE purchases SET initiated_at = submitted_at + INTERVAL 1 SECOND",
    "purchases.fulfilled_is_identified": "UPDATE purchases SET user_id = NULL",
    "purchases.pull_count_is_quantity": "UPDATE purchases SET quantity = pull_count + 1",
    "purchases.is_of_one_environment": "UPDATE purchases SET is_sandbox = (session_id = 's1')",
    "pulls.item_is_in_one_session_at_a_time": "UPDATE pulls SET item_id = 'the same'",
    "pulls.item_is_in_one_session_of_a_sandbox_at_a_time": "UPDATE purchases SET is_sandbox = true",
    "pulls.item_is_pulled_once_a_session": "INSERT INTO pulls SELECT * REPLACE (99 AS pull_number) FROM pulls",
    "pulls.mint_address_is_the_item": "UPDATE pulls SET item_id = 'v1|1|0', mint_address = '0OIl'",
    "pulls.type_agrees_with_chain": "UPDATE pulls SET item_type = 'enft', is_on_chain = false",
    "pulls.on_chain_items_are_complete": "UPDATE pulls SET is_on_chain = true, token_standard = NULL",
    "pulls.quotes_are_plausible": "UPDATE pulls SET buyback_price_usd = 999999999",
    "pulls.quotes_are_within_the_tiers": "UPDATE pulls SET buyback_price_usd = 100_000",
    "pulls.images_have_a_known_scheme": "UPDATE pulls SET image_url = 'javascript:alert(1)'",
    "pulls.names_are_what_they_look_like": "UPDATE pulls SET name = 'R\u0430\u0443dium'",
    "items.names_are_whole": "UPDATE items SET name = repeat('x', 32)",
    "items.traits_are_given_once": "UPDATE items SET is_trait_repeated = true",
    "items.certificate_is_of_one_item": "UPDATE items SET grader = 'PSA', cert_digits = '12345678'",
    "items.card_facts_can_be_read": "UPDATE items SET cert_number = '1.40102E+12', cert_digits = NULL",
    "resolution_funnel.not_everything_fails": "UPDATE resolution_funnel SET failed = 20, fulfilled = 0",
    "daily_signals.failed_rate_is_usual": "UPDATE daily_signals SET signal = 'failed_rate', is_unusual = true, z = 4",
    "data_issues.has_no_errors": "UPDATE data_issues SET severity = 'error'",
    "data_issues.has_no_schema_drift": "UPDATE data_issues SET rule = 'unknown_field'",
}


def break_for(check: Check) -> str:
    """The statement that breaks the rule of a check in a lake with a session `s1`."""
    if check.name == "key_is_unique":
        return f"INSERT INTO {check.table.name} SELECT * FROM {check.table.name} LIMIT 1"
    if check.name == "required_columns_are_set":
        required = [c.name for c in check.table.columns if c.is_required]
        return f"UPDATE {check.table.name} SET {required[-1]} = NULL"
    if check.key in BREAKS:
        return BREAKS[check.key]
    assert check.name.endswith("_is_known"), f"no break is known for {check.key}"
    return f"UPDATE {check.table.name} SET {check.name.removesuffix('_is_known')} = 'never heard of'"


def table_changed_by(statement: str) -> Table:
    """The table that a statement changes."""
    return TABLES[re.findall(r"(?:UPDATE|INSERT INTO|DELETE FROM) (\w+)", statement)[0]]

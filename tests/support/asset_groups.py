"""The assets of each group."""

from __future__ import annotations

GROUPS = {
    "raw": {"session_submissions", "sellback_submissions", "pending_sessions", "status_responses"},
    "staging": {"purchases", "pulls", "item_attributes", "items", "sellbacks"},
    "marts": {
        *("item_types", "buyback_values", "pack_economics", "resolution_funnel", "data_issues"),
        *("pending_ageing", "buyback_outstanding", "top_pulls", "daily_type_mix", "repulled_items", "tier_hit_rates"),
        *("pack_weeks", "users", "set_values", "quote_accuracy", "sellback_shares", "daily_signals"),
    },
    "publish": {"warehouse", "report"},
}

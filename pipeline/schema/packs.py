"""The optional packs file `reference/packs.csv` as tables: the partner's data about packs."""

from pipeline.schema.table import MONEY, TIME, Column, Strategy, Table, Zone

REFERENCE_PACK_ROWS = Table(
    "reference_pack_rows",
    "One row per row of the packs file, accepted or rejected.",
    (
        Column("row_number", "BIGINT", "1-based line of the file; 0 if the whole file was rejected", key=True),
        Column("modified_at", TIME, "Modification time of the file", nullable=False),
        Column("pack_id", "VARCHAR", "The pack; NULL if unreadable"),
        Column("name", "VARCHAR", "The pack's name"),
        Column("price_usd", MONEY, "Price of one pack"),
        Column("buyback_share", "DOUBLE", "Quote over fair market value of an item, 0.01 to 1"),
        Column("tier", "VARCHAR", "A tier of the pack; NULL in a row about the whole pack"),
        Column("fmv_low_usd", MONEY, "Lowest fair market value of the tier's items"),
        Column("fmv_high_usd", MONEY, "Exclusive upper bound of the tier's fair market value; NULL if unbounded"),
        Column("weight", "DOUBLE", "The tier's published weight; the weights of a pack may have any sum"),
        Column(
            "valid_from",
            "DATE",
            "First day of pulling for which the row's tiers are valid; NULL = always, or until the next version",
        ),
        Column("rejected_reason", "VARCHAR", "Reason for the rejection; NULL if the row was accepted"),
        Column("raw_value", "VARCHAR", "The offending text of a rejected row, its first 200 characters"),
    ),
    zone=Zone.STAGING,
    special_strategy=Strategy.PACKS_FILE,
)

REFERENCE_PACKS = Table(
    "reference_packs",
    "One row per pack of the packs file.",
    (
        Column("pack_id", "VARCHAR", "The pack", key=True),
        Column("name", "VARCHAR", "The pack's name"),
        Column("price_usd", MONEY, "Price of one pack"),
        Column(
            "buyback_share",
            "DOUBLE",
            "Quote over fair market value of an item, 0.01 to 1; NULL if it changed over time",
        ),
        Column(
            "has_whole_tiers",
            "BOOLEAN",
            "Whether the pack has tiers and all are accepted: no row of the pack or without a pack was rejected",
            nullable=False,
        ),
    ),
    zone=Zone.STAGING,
    sources=("reference_pack_rows",),
    special_strategy=Strategy.WHOLE_IF_DIFFERENT,
)

REFERENCE_TIERS = Table(
    "reference_tiers",
    "One row per pack, version of its tiers and tier, for packs whose tiers are all accepted.",
    (
        Column("pack_id", "VARCHAR", "The pack", key=True),
        Column("valid_from", "DATE", "First day of the version; NULL = always", key=True, nullable=True),
        Column("tier_number", "BIGINT", "1 for the tier of the lowest values", key=True),
        Column("valid_until", "DATE", "First day of the next version; NULL if there is none"),
        Column("tier", "VARCHAR", "The tier's name", nullable=False),
        Column("fmv_low_usd", MONEY, "Lowest fair market value of the tier's items"),
        Column("fmv_high_usd", MONEY, "Exclusive upper bound of the tier's fair market value; NULL if unbounded"),
        Column("buyback_share", "DOUBLE", "Quote over fair market value: the version's, else the pack's"),
        Column("quote_low_usd", MONEY, "Quote of an item with the lowest fair market value"),
        Column("quote_high_usd", MONEY, "Exclusive upper bound of the quotes of the tier's items"),
        Column("published_share", "DOUBLE", "The tier's weight over the sum of the version's"),
    ),
    zone=Zone.STAGING,
    sources=("reference_pack_rows", "reference_packs"),
)

"""The optional packs file `reference/packs.csv` as tables: the partner's data about packs."""

from pipeline.schema.table import MONEY, TIME, Column, Strategy, Table, Zone

REFERENCE_PACK_ROWS = Table(
    "reference_pack_rows",
    "One row per row of the reference file of packs, accepted or rejected.",
    (
        Column("row_number", "BIGINT", "1-based line of the file; 0 if the whole file was rejected", key=True),
        Column("modified_at", TIME, "When the file was last changed", nullable=False),
        Column("pack_id", "VARCHAR", "The pack; NULL if unreadable"),
        Column("name", "VARCHAR", "The pack's name"),
        Column("price_usd", MONEY, "Price of one pack"),
        Column("buyback_share", "DOUBLE", "What a quote is of an item's fair market value, 0.01 to 1"),
        Column("tier", "VARCHAR", "A tier of the pack; NULL in a row about the whole pack"),
        Column("fmv_low_usd", MONEY, "Lowest fair market value of the tier's items"),
        Column("fmv_high_usd", MONEY, "The tier's items are worth less than this; NULL where it has no upper bound"),
        Column("weight", "DOUBLE", "The tier's published weight; the weights of a pack may have any sum"),
        Column(
            "valid_from", "DATE", "From which day of pulling the row's tiers hold; NULL = always, or until the next"
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
            "What a quote is of an item's fair market value, 0.01 to 1; NULL where it changed in the course of time",
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
    "One row per pack, version of its tiers and tier, of the packs whose tiers are wholly known.",
    (
        Column("pack_id", "VARCHAR", "The pack", key=True),
        Column("valid_from", "DATE", "First day of the version; NULL = always", key=True, nullable=True),
        Column("tier_number", "BIGINT", "1 for the tier of the lowest values", key=True),
        Column("valid_until", "DATE", "First day of the next version; NULL where there is none"),
        Column("tier", "VARCHAR", "The tier's name", nullable=False),
        Column("fmv_low_usd", MONEY, "Lowest fair market value of the tier's items"),
        Column("fmv_high_usd", MONEY, "The tier's items are worth less than this; NULL where it has no upper bound"),
        Column("buyback_share", "DOUBLE", "What a quote is of fair market value: the version's, else the pack's"),
        Column("quote_low_usd", MONEY, "What an item of the lowest value is quoted at"),
        Column("quote_high_usd", MONEY, "The tier's items are quoted at less than this"),
        Column("published_share", "DOUBLE", "The tier's weight over the sum of the version's"),
    ),
    zone=Zone.STAGING,
    sources=("reference_pack_rows", "reference_packs"),
)

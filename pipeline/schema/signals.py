"""Whether a day is unusual: beside what the days before it were like."""

from pipeline.schema.table import Column, Table

SIGNALS = ("purchases", "failed_rate", "win_rate", "quoted_value")

DAILY_SIGNALS = Table(
    "daily_signals",
    "One row per UTC day that is over and figure of it, beside the 28 days before (Laney's p').",
    (
        Column("signal_date", "DATE", "The day: of submission for purchases and failures, else of pulling", key=True),
        Column(
            "signal",
            "VARCHAR",
            "`purchases` submitted; `failed_rate` of the settled ones; `win_rate` of the quoted pulls with a price; "
            "`quoted_value`, the geometric mean of the quotes above zero in USD",
            key=True,
            accepted=SIGNALS,
        ),
        Column("value", "DOUBLE", "The day's figure", nullable=False),
        Column("count", "BIGINT", "What it is of: purchases, settled purchases or pulls", nullable=False),
        Column("usual", "DOUBLE", "The figure of the 28 days before, taken together"),
        Column("usual_low", "DOUBLE", "Three standard errors below that, for a day of this size"),
        Column("usual_high", "DOUBLE", "Three standard errors above that"),
        Column("z", "DOUBLE", "How many standard errors the day is away from what is usual"),
        Column(
            "day_spread",
            "DOUBLE",
            "How much more the 28 days differ than chance alone would make them (Laney's sigma z), 1 at least; the "
            "standard errors contain it",
        ),
        Column("former_day_count", "BIGINT", "Days of the 28 with data; below 14 nothing is usual", nullable=False),
        Column("is_unusual", "BOOLEAN", "Whether the day is beyond three standard errors", nullable=False),
        Column(
            "is_telling",
            "BOOLEAN",
            "Whether half or twice what is usual would be unusual; where it would not, the day is too small to tell",
            nullable=False,
        ),
        Column("sentence", "VARCHAR", "All this in words", nullable=False),
    ),
    group="marts",
    sources=("submission_days", "daily_quote_counts"),
)

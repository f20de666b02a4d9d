"""Control chart of daily figures: each day against the 28 days before it."""

from pipeline.schema.table import Column, Table

SIGNALS = ("purchases", "failed_rate", "win_rate", "quoted_value")

DAILY_SIGNALS = Table(
    "daily_signals",
    "One row per completed UTC day and figure, with limits from the 28 days before (Laney's p' chart).",
    (
        Column("signal_date", "DATE", "The day: of submission for purchases and failures, else of pulling", key=True),
        Column(
            "signal",
            "VARCHAR",
            "`purchases` submitted; `failed_rate` of the final purchases; `win_rate` of the quoted pulls with a price; "
            "`quoted_value`, the geometric mean of the quotes above zero in USD",
            key=True,
            accepted=SIGNALS,
        ),
        Column("value", "DOUBLE", "The day's figure", nullable=False),
        Column("count", "BIGINT", "Its base: the number of purchases, final purchases or pulls", nullable=False),
        Column("usual", "DOUBLE", "Pooled figure of the 28 days before"),
        Column("usual_low", "DOUBLE", "Lower control limit: `usual` less three standard errors for a day of this size"),
        Column("usual_high", "DOUBLE", "Upper control limit: `usual` plus three standard errors"),
        Column("z", "DOUBLE", "Standard errors between the day's figure and `usual`"),
        Column(
            "day_spread",
            "DOUBLE",
            "Variation between the 28 days relative to chance (Laney's sigma z), at least 1; the standard errors "
            "include it",
        ),
        Column(
            "former_day_count",
            "BIGINT",
            "How many of the 28 days have data; below 14 there are no limits",
            nullable=False,
        ),
        Column("is_unusual", "BOOLEAN", "Whether the figure is outside the control limits", nullable=False),
        Column(
            "is_telling",
            "BOOLEAN",
            "Whether half or twice the usual figure would be outside the limits; if not, the day has too little data",
            nullable=False,
        ),
        Column("sentence", "VARCHAR", "The row in words", nullable=False),
    ),
    group="marts",
    sources=("submission_days", "daily_quote_counts"),
)

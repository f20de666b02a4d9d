"""The items of each day, as in that day's latest pull, and of all days, as in the latest pull.

Both tables have the same columns of the latest pull and its card; they are declared once.
"""

from pipeline.schema.table import MONEY, TIME, Column, Partition, Reference, Table, Zone

_QUOTED_PULL = (
    "STRUCT(pulled_at TIMESTAMP WITH TIME ZONE, resolved_at TIMESTAMP WITH TIME ZONE, session_id VARCHAR, "
    "pull_number INTEGER, buyback_price_usd DECIMAL(18,4))"
)

# The trait names under which vendors give one fact, in small letters, the preferred one first.
TRAITS = {
    "grading_company": ("grading company", "grader"),
    "grade": ("grade", "the grade", "gradenum"),
    "cert_number": ("cert number", "grading id", "serial"),
    "year": ("year",),
    "category": ("category",),
    "set_name": ("set", "set name"),
    "card_number": ("card number", "serial number", "number"),
    "parallel": ("parallel",),
    "numbering": ("print run", "numbered to", "serial numbered", "numbered"),
    "language": ("language",),
    "insured_value": ("insured value", "insuredvalue", "insured_value"),
}

PULL_COLUMNS = (
    Column("item_type", "VARCHAR", "Latest source of the item"),
    Column("name", "VARCHAR", "Latest name"),
    Column("mint_address", "VARCHAR", "Latest mint address"),
    Column("collection_address", "VARCHAR", "Latest collection address"),
    Column("token_standard", "VARCHAR", "Latest token standard"),
    Column("image_url", "VARCHAR", "Latest front image"),
    Column("back_image_url", "VARCHAR", "Latest back image"),
)
CARD_COLUMNS = (
    Column("grading_company", "VARCHAR", "From the trait Grading Company or Grader, as text"),
    Column("grade", "VARCHAR", "From the trait Grade, The Grade or GradeNum, as text"),
    Column("cert_number", "VARCHAR", "From the trait Cert Number, Grading ID or Serial, as text"),
    Column("year", "VARCHAR", "From the trait Year, as text"),
    Column("category", "VARCHAR", "From the trait Category, as text"),
    Column("set_name", "VARCHAR", "From the trait Set or Set Name, as text"),
    Column("card_number", "VARCHAR", "From the trait Card Number, Serial Number or Number, as text"),
    Column("parallel", "VARCHAR", "From the trait Parallel, as text"),
    Column(
        "print_run",
        "INTEGER",
        "Number of printed copies, such as 25 from `/25` or `12/25`: from the trait Print Run, Numbered To, Serial "
        "Numbered, Numbered or Parallel, else from the name; NULL if it may be the card's number in its set, a grade "
        "or a season",
    ),
    Column("language", "VARCHAR", "From the trait Language, as text"),
    Column("insured_value_usd", MONEY, "From the trait Insured Value; NULL in a currency other than dollars"),
    Column(
        "is_trait_repeated",
        "BOOLEAN",
        "Whether the latest pull has a repeated trait, ignoring case; each of the columns above takes the first",
        nullable=False,
    ),
)
# What `items` reads out of the text of a card's column, shown behind it.
_PARSED = {
    "grading_company": (
        Column(
            "grader",
            "VARCHAR",
            "The grader in one spelling: `PSA`, `CGC`, `BGS` (Beckett), `SGC` or `TAG`; NULL if no grader is named",
        ),
        Column(
            "grader_source",
            "VARCHAR",
            "Source column of `grader`: `grading_company`, or `grade` if no company was sent",
        ),
    ),
    "grade": (
        Column("grade_number", "DOUBLE", "The number in `grade`, 0 to 10 in halves"),
        Column(
            "grade_label",
            "VARCHAR",
            "The words of `grade` in one spelling, such as `GEM MINT`, `NM MINT+` or `PRISTINE BLACK LABEL`; "
            "NULL if a word belongs to no grading scale",
        ),
    ),
    "cert_number": (
        Column(
            "cert_digits",
            "VARCHAR",
            "The digits of `cert_number` without leading zeros; NULL if damaged (`1.40102E+12`) or not a certificate",
        ),
    ),
    "year": (
        Column(
            "year_number",
            "INTEGER",
            "The year in `year`, the first one of a season (`1999-00`); from 1850 to the year after the latest pull",
        ),
    ),
}
PARSED_CARD_COLUMNS = tuple(shown for column in CARD_COLUMNS for shown in (column, *_PARSED.get(column.name, ())))

ITEM_DAYS = Table(
    "item_days",
    "One row per item and part of a day of observation: the item as in the part's latest pull.",
    (
        Column("item_id", "VARCHAR", "The item", key=True),
        *PULL_COLUMNS,
        Column("buyback_price_usd", MONEY, "Quote in the latest pull"),
        Column("session_id", "VARCHAR", "The latest pull's session", nullable=False),
        Column("pull_number", "INTEGER", "The latest pull within its session", nullable=False),
        Column("pulled_at", TIME, "When the latest pull's purchase was initiated, else resolved", nullable=False),
        Column("resolved_at", TIME, "When the latest pull's answer came", nullable=False),
        *CARD_COLUMNS,
        Column("pull_count", "BIGINT", "Pulls of the part", nullable=False),
        Column("first_pulled_at", TIME, "First pull of the part", nullable=False),
        Column("min_buyback_price_usd", MONEY, "Lowest quote"),
        Column("max_buyback_price_usd", MONEY, "Highest quote"),
        Column("item_types", "VARCHAR[]", "The item types of its pulls; `unknown` if absent", nullable=False),
        Column("first_quoted_pull", _QUOTED_PULL, "The earliest quoted pull"),
        Column("latest_quoted_pulls", f"{_QUOTED_PULL}[]", "The two latest quoted pulls, latest first"),
    ),
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("pulls", "item_attributes"),
)

ITEMS = Table(
    "items",
    "One row per distinct item, as in its latest pull.",
    (
        Column("item_id", "VARCHAR", "The item", key=True),
        *PULL_COLUMNS,
        *PARSED_CARD_COLUMNS,
        Column("pull_count", "BIGINT", "Pulls of the item", nullable=False),
        Column("first_pulled_at", TIME, "First pull of the item", nullable=False),
        Column("last_pulled_at", TIME, "Latest pull of the item", nullable=False),
        Column("latest_buyback_price_usd", MONEY, "Quote in the latest pull"),
        Column("min_buyback_price_usd", MONEY, "Lowest quote"),
        Column("max_buyback_price_usd", MONEY, "Highest quote"),
    ),
    group="staging",
    sources=("item_days",),
    references=(Reference(("item_id",), "pulls"),),
)

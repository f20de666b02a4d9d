"""Columns that several marts share."""

from pipeline.schema.table import MONEY, SHARE, TIME, Column


def share(name: str, description: str) -> Column:
    return Column(name, "DOUBLE", f"{description}, 0 to 1", unit=SHARE)


def money(name: str, description: str) -> Column:
    return Column(name, MONEY, description)


def count(name: str, description: str) -> Column:
    return Column(name, "BIGINT", description, nullable=False)


PULL_COUNTS = (
    count("pull_count", "Pulls"),
    count("priced_pull_count", "Pulls with a quoted buyback price; the base of every buyback figure"),
)

IS_COMPLETE = Column(
    "is_complete",
    "BOOLEAN",
    "Whether the UTC day was over at the end of the data; if not, the day is partial. Pending sessions may still add "
    "to any day",
    nullable=False,
)

_CLUSTERED = "(Wilson, clustered by {})"


def share_bounds(name: str, cluster: str) -> tuple[Column, Column]:
    method = _CLUSTERED.format(cluster)
    return (
        share(f"{name}_low", f"Lower bound of the 95 % interval of `{name}` {method}"),
        share(f"{name}_high", f"Upper bound of the 95 % interval of `{name}` {method}"),
    )


AS_OF = Column(
    "as_of",
    TIME,
    "Latest submission, request or answer in the data; ages and windows count back from it",
    nullable=False,
)

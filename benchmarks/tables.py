"""Speed of normalizing, daily runs, publishing and queries, on generated history.

Run `python -m benchmarks.tables` from the project's root. `benchmarks.tables 100000 1000000` sets other sizes.

Answers are two thousand answers of the simulator, repeated under other session ids. Compare ratios rather than absolute
speeds: each has a named baseline measured in the same run. The largest default history takes half an hour.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb
import msgspec
import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.payloads import MIXES, SIMULATED, Mix
from pipeline.polling import answers
from pipeline.publish.warehouse import publish
from pipeline.schema import PUBLISHED, TABLES
from pipeline.schema.raw import PENDING_SESSIONS, SESSION_SUBMISSIONS, STATUS_RESPONSES
from pipeline.simulator import catalogue
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.missing_columns import with_missing_columns
from pipeline.storage.window import Window
from pipeline.transform.builder import Builder

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 30
HISTORIES = (100_000, 1_000_000, 10_000_000)  # pulls
PULLS_A_SESSION = 1.4  # the mean of the simulator's packs
NEW_SESSIONS = 10_000
NORMALIZED = 100_000  # answers
NORMALIZED_ROW_BY_ROW = 10_000  # fewer answers, because it is slow
TEMPLATES = 2_000
FLAT_ITEM = """{"result":{"nfts":[{"id":"VARCHAR","type":"VARCHAR","buyback_price":"DOUBLE","mint_address":"VARCHAR",
    "collection_address":"VARCHAR","token_standard":"VARCHAR","content":{"metadata":{"name":"VARCHAR","image":"VARCHAR",
    "back_image":"VARCHAR","attributes":[{"trait_type":"VARCHAR","value":"VARCHAR"}]},
    "links":{"image":"VARCHAR","back_image":"VARCHAR"}}}]}}"""
BARE_TABLES = Path(__file__).with_name("bare_tables.sql")
QUERIES = {
    "count by type": "SELECT item_type, count(*), sum(buyback_price_usd) FROM pulls GROUP BY ALL",
    "one session": "SELECT * FROM pulls WHERE session_id = 'd3-17'",
    "top pulls": "SELECT name, buyback_price_usd FROM pulls ORDER BY buyback_price_usd DESC NULLS LAST LIMIT 20",
    "grades": "SELECT value, count(*) FROM item_attributes WHERE trait_type = 'Grade' GROUP BY ALL",
    "by day and pack": "SELECT pulled_at::DATE, pack_id, median(buyback_price_usd) FROM pulls GROUP BY ALL",
}


def templates(mix: Mix) -> pa.Table:
    fates = [catalogue.session(1, f"template-{i}", is_sandbox=False) for i in range(TEMPLATES)]
    bodies = [json.dumps({"result": {**fate.result, "session_id": "@"}}) for fate in fates]
    bodies = [mix(number, body) for number, body in enumerate(bodies)]
    meanings = [answers.interpret("@", answers.Answer(200, {}, body.encode())) for body in bodies]
    return pa.table(
        {
            "k": range(TEMPLATES),
            "template": bodies,
            "detail": [meaning.detail for meaning in meanings],
            "has_repeated_keys": [meaning.has_repeated_keys for meaning in meanings],
            "pack_id": [fate.pack.id for fate in fates],
            "price_usd": [fate.price for fate in fates],
            "quantity": [fate.quantity for fate in fates],
        }
    )


def add_day(data: DataDirectory, day: int, sessions: int, mix: Mix = MIXES[SIMULATED]) -> None:
    """Adds a day of raw: submissions, and a fulfilled answer for each."""
    start = FIRST_DAY + timedelta(days=day)
    sql = f"""
        SELECT 'd{day}-' || range AS session_id, range AS i, (range * 7919 + {day} * 31) % {TEMPLATES} AS k,
            TIMESTAMPTZ '{start.isoformat()}'
                + to_microseconds((range * 86_399_000_000 // {sessions})::BIGINT) AS moment,
            moment AS initiated_at, moment AS requested_at, moment AS received_at, 'u' AS user_id
        FROM range({sessions})
    """
    add_sessions(data, start, f"day-{day}", f"day {day}", sql, mix)


def add_sessions(data: DataDirectory, start: datetime, name: str, content: str, sessions: str, mix: Mix) -> None:
    """Adds raw objects of sessions and of a fulfilled answer for each.

    `sessions` is a query of their columns `session_id`, `i` (the order), `k` (the template of the answer), `moment` (of
    the submission), `initiated_at`, `requested_at`, `received_at` and `user_id`. `name` is that of the objects and of
    the submitted file, and `content` stands for the hash of the file.
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("templates", templates(mix))
        connection.execute(f"CREATE TEMP VIEW sessions AS {sessions}")
        sources = {
            STATUS_RESPONSES: """
                SELECT session_id, requested_at, received_at, 200::SMALLINT AS http_status,
                    'application/json' AS content_type, encode(replace(template, '@', session_id)) AS body,
                    sha256(replace(template, '@', session_id)) AS body_sha256, 'fulfilled' AS outcome,
                    detail, has_repeated_keys
                FROM sessions JOIN templates USING (k) ORDER BY i
            """,
            SESSION_SUBMISSIONS: f"""
                SELECT '{content}' AS content_sha256, i + 1 AS row_number, '{name}.csv' AS source_file,
                    moment AS submitted_at, session_id, initiated_at, pack_id,
                    price_usd::DECIMAL(18,4) AS price_usd, quantity::INTEGER AS quantity, user_id,
                    NULL::VARCHAR AS rejected_reason, NULL::VARCHAR AS raw_value
                FROM sessions JOIN templates USING (k) ORDER BY i
            """,
        }
        for table, sql in sources.items():
            with data.store.writer(table, f"{start:%Y-%m-%d}", name) as writer:
                for batch in connection.execute(sql).to_arrow_reader(20_000):
                    writer.write(with_missing_columns(table, batch))


def refresh_tables(data: DataDirectory, days: int = DAYS, publish_days: int = 0) -> tuple[float, float, int]:
    """Updates all tables of a history of so many days, and publishes its last days, or all of them.

    Returns the seconds for both, and the size of the published file in bytes.
    """
    moment = FIRST_DAY + timedelta(days=days + 2)
    with data.exclusive():
        started = time.perf_counter()
        with Builder(data, moment, expire_after=0) as builder:
            builder.build(PENDING_SESSIONS)
            builder.build_published()
        built = time.perf_counter()
        published = publish(data, Window.until(moment, publish_days))
    return built - started, time.perf_counter() - built, published.size


def fresh(folder: Path) -> DataDirectory:
    data = DataDirectory(folder)
    data.claim("benchmark", "none")
    return data


def normalized(folder: Path) -> Table:
    """Answers per second normalized into pulls and attributes, beside pandas and bare queries over the same text.

    The pipeline also derives three tables on the way, as one of the bare variants does. No bare variant sorts rows or
    checks answers.
    """
    data = fresh(folder)
    add_day(data, 0, NORMALIZED)
    with connect(data) as connection:
        scan = data.store.scan(STATUS_RESPONSES)
        found = connection.execute(f"SELECT body FROM {scan} LIMIT {NORMALIZED_ROW_BY_ROW}").fetchall()
    bodies = [bytes(body) for (body,) in found]
    in_memory, written, all_written = "bare, in memory", "bare, to Parquet", "bare, all five tables"
    rates = {
        in_memory: NORMALIZED / timed(lambda: bare_query(data, is_written=False)),
        written: NORMALIZED / timed(lambda: bare_query(data, is_written=True)),
        all_written: NORMALIZED / timed(lambda: bare_tables(data)),
        "this pipeline": NORMALIZED / timed(lambda: our_tables(data)),
        "msgspec to Arrow": NORMALIZED_ROW_BY_ROW / timed(lambda: msgspec_to_arrow(bodies)),
        "pandas.json_normalize": NORMALIZED_ROW_BY_ROW / timed(lambda: json_normalize(bodies)),
    }
    table = Table(title=f"{NORMALIZED:,} answers to pulls and attributes")
    baselines = (in_memory, written, all_written, "pandas.json_normalize")
    for name in ("way", "answers/s", *(f"of {baseline}" for baseline in baselines)):
        table.add_column(name, justify="right")
    for name, rate in rates.items():
        shares = (rate / rates[baseline] for baseline in baselines)
        table.add_row(name, f"{rate:,.0f}", *(f"{share:.2f}" for share in shares))
    return table


def normalized_mixes(folder: Path) -> Table:
    """Answers per second of each mix normalized into all five tables, beside bare queries; the fastest of three."""
    table = Table(title=f"{NORMALIZED:,} answers to five tables, by mix of answers")
    for name in ("mix", "bare, answers/s", "this pipeline, answers/s", "of bare"):
        table.add_column(name, justify="right")
    for name, mix in MIXES.items():
        data = fresh(folder / name)
        add_day(data, 0, NORMALIZED, mix)
        turns = [(timed(lambda: bare_tables(data)), timed(lambda: our_tables(data))) for _ in range(3)]  # noqa: B023
        bare, ours = (min(seconds) for seconds in zip(*turns, strict=True))
        table.add_row(name, f"{NORMALIZED / bare:,.0f}", f"{NORMALIZED / ours:,.0f}", f"{bare / ours:.2f}")
        shutil.rmtree(data.root)
    return table


def our_tables(data: DataDirectory) -> None:
    with data.exclusive(), Builder(data, FIRST_DAY, expire_after=0) as builder:
        builder.forget_all()
        for name in ("purchases", "pulls", "item_attributes"):
            builder.build(TABLES[name])


def bare_query(data: DataDirectory, is_written: bool) -> None:
    """Derives pulls and attributes only, with the fields of the answers as columns."""
    with connect(data) as connection:

        def made(name: str, sql: str) -> None:
            target = f"COPY ({sql}) TO '{data.root / name}.parquet' (COMPRESSION zstd)"
            connection.execute(target if is_written else f"CREATE TEMP TABLE {name} AS {sql}")

        items = f"unnest(from_json(decode(body), '{FLAT_ITEM}').result.nfts) AS item"
        connection.execute(
            f"CREATE TEMP TABLE items AS SELECT session_id, {items} FROM {data.store.scan(STATUS_RESPONSES)}"
        )
        made("p", "SELECT session_id, unnest(item) FROM items")
        made("a", "SELECT session_id, unnest(item.content.metadata.attributes, recursive := true) FROM items")


def bare_tables(data: DataDirectory) -> None:
    """Derives the same five tables as the pipeline, as Parquet files."""
    with connect(data) as connection:
        for raw in (STATUS_RESPONSES, SESSION_SUBMISSIONS):
            connection.execute(f"CREATE TEMP VIEW {raw.name} AS FROM {data.store.scan(raw)}")
        connection.execute(BARE_TABLES.read_text().replace("FOLDER", str(data.root).replace("'", "''")))


def json_normalize(bodies: list[bytes]) -> None:
    answers = [json.loads(body) for body in bodies]
    pd.json_normalize(answers, ["result", "nfts"], [["result", "session_id"]])
    items = [item for answer in answers for item in answer["result"]["nfts"]]
    pd.json_normalize(items, ["content", "metadata", "attributes"], ["id"])


def msgspec_to_arrow(bodies: list[bytes]) -> None:
    decoder = msgspec.json.Decoder(Answer)
    pulls: list[tuple[object, ...]] = []
    attributes: list[tuple[object, ...]] = []
    for body in bodies:
        result = decoder.decode(body).result
        for number, item in enumerate(result.nfts, 1):
            found = item.content.metadata
            pulls.append(
                (result.session_id, number, item.id, item.type, item.buyback_price, item.mint_address, found.name)
                + (item.collection_address, item.token_standard, found.image, found.back_image)
            )
            attributes += [
                (result.session_id, number, i, a.trait_type, as_text(a.value))
                for i, a in enumerate(found.attributes, 1)
            ]
    for rows in (pulls, attributes):
        columns = [pa.array(column) for column in zip(*rows, strict=True)]
        pa.table(columns, names=[str(i) for i in range(len(columns))])


def as_text(value: str | float | None) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


class Attribute(msgspec.Struct):
    trait_type: str | None = None
    value: str | int | float | bool | None = None


class Metadata(msgspec.Struct):
    name: str | None = None
    image: str | None = None
    back_image: str | None = None
    attributes: list[Attribute] = []


class Content(msgspec.Struct):
    metadata: Metadata


class Item(msgspec.Struct):
    id: str
    content: Content
    type: str | None = None
    buyback_price: float | None = None
    mint_address: str | None = None
    collection_address: str | None = None
    token_standard: str | None = None


class Result(msgspec.Struct):
    session_id: str
    nfts: list[Item]


class Answer(msgspec.Struct):
    result: Result


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Refreshed(NamedTuple):
    """Seconds for the tables and for publishing, the size of the published file, and peak memory, both in bytes."""

    built: float
    published: float
    size: int
    peak: int


def refreshed(data: DataDirectory) -> Refreshed:
    """Runs `refresh_tables` in a new process, so that peak memory includes nothing else."""
    clean = multiprocessing.get_context("spawn")
    result = clean.Queue()
    process = clean.Process(target=_refresh_and_tell, args=(data.root, result))
    process.start()
    figures: Refreshed = result.get()
    process.join()
    return figures


def _refresh_and_tell(folder: Path, result: multiprocessing.Queue[Refreshed]) -> None:
    figures = refresh_tables(fresh(folder))
    result.put(Refreshed(*figures, peak_memory()))


def peak_memory() -> int:
    """This process's peak memory in bytes. `getrusage` would include memory of the parent process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].removesuffix("kB")) * 1024


def queries(data: DataDirectory) -> Table:
    table = Table(title="Query times on the published file, beside views over the Parquet files, in seconds")
    for name in ("query", "published", "views"):
        table.add_column(name, justify="right")
    with duckdb.connect(data.warehouse, read_only=True) as published, connect(data) as views:
        for declared in PUBLISHED:
            views.execute(f"CREATE TEMP VIEW {declared.name} AS FROM {data.store.scan(declared)}")
        for name, sql in QUERIES.items():
            table.add_row(name, *(f"{fastest(connection, sql):.3f}" for connection in (published, views)))
    return table


def fastest(connection: duckdb.DuckDBPyConnection, sql: str) -> float:
    return min(timed(lambda: connection.execute(sql).fetchall()) for _ in range(3))


def main() -> None:
    histories = [int(size) for size in sys.argv[1:]] or HISTORIES
    console = Console(width=110)
    table = Table(title=f"A daily run of {NEW_SESSIONS:,} new sessions on top of {DAYS} days of history")
    names = "pulls of history|tables s|publish s|of the first|file MB|peak MB|history s|its peak MB"
    for name in names.split("|"):
        table.add_column(name, justify="right")
    first = 0.0
    with tempfile.TemporaryDirectory() as folder:
        console.print(normalized(Path(folder, "normalized")))
        console.print(normalized_mixes(Path(folder, "mixes")))
        for pulls in histories:
            data = fresh(Path(folder, str(pulls)))
            for day in range(DAYS):
                add_day(data, day, round(pulls / PULLS_A_SESSION / DAYS))
            history = refreshed(data)
            add_day(data, DAYS, NEW_SESSIONS)
            daily = refreshed(data)
            first = first or daily.built + daily.published
            of_first = (daily.built + daily.published) / first
            table.add_row(
                *(f"{pulls:,}", f"{daily.built:.1f}", f"{daily.published:.1f}", f"{of_first:.1f}"),
                *(f"{daily.size / 1e6:,.0f}", f"{daily.peak / 1e6:,.0f}"),
                *(f"{history.built + history.published:,.0f}", f"{history.peak / 1e6:,.0f}"),
            )
            if pulls == histories[-1]:
                console.print(queries(data))
            shutil.rmtree(data.root)
    console.print(table)


if __name__ == "__main__":
    main()

"""The same work as a typical dlt pipeline, run in an environment with dlt. See `refresh.py`.

Polls every session of a CSV file and loads the answers into DuckDB, where dlt makes child tables of items and
attributes. Rows are yielded in pages, as dlt's performance guide advises. The optional fourth argument is the format of
the files between dlt and DuckDB. The pipeline keeps no state for a second run, and checks nothing.
"""

from __future__ import annotations

import asyncio
import csv
import itertools
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import dlt

IN_FLIGHT = 100  # requests, as many as the pipeline's
PAGE = 1_000  # rows


async def answers(url: str, session_ids: list[str]) -> AsyncIterator[list[dict[str, Any]]]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as client:

        async def answer(session_id: str) -> dict[str, Any]:
            async with client.post(url, json={"session_id": session_id}) as response:
                document = await response.json()
            result = document.get("result", {})
            return {"session_id": session_id, "http_status": response.status, "error": document.get("error"), **result}

        remaining = iter(session_ids)
        while page := list(itertools.islice(remaining, PAGE)):
            yield await asyncio.gather(*map(answer, page))


def main(url: str, submissions: Path, folder: Path, file_format: str | None = None) -> None:
    with submissions.open(newline="", encoding="utf-8") as file:
        session_ids = [row["session_id"] for row in csv.DictReader(file)]
    pipeline = dlt.pipeline(
        "purchases",
        pipelines_dir=str(folder),
        destination=dlt.destinations.duckdb(str(folder / "purchases.duckdb")),
        dataset_name="resolved",
    )
    resource = dlt.resource(answers(url, session_ids), name="purchases", write_disposition="append")
    pipeline.run(resource, loader_file_format=file_format)
    with pipeline.sql_client() as client:
        rows = client.execute_sql("SELECT count(*) FROM purchases")
    if rows != [(len(session_ids),)]:
        sys.exit(f"dlt loaded {rows} of {len(session_ids)} sessions")


if __name__ == "__main__":
    url, submissions, folder, *file_format = sys.argv[1:]
    main(url, Path(submissions), Path(folder), *file_format)

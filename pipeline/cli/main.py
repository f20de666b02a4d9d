"""The command line `phygitals`: declares the commands; the modules beside it implement them."""

from __future__ import annotations

import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

import click
import duckdb

from pipeline.cli.console import console, open_closed_streams, print_error, print_excerpt, say
from pipeline.cli.sql_error import SqlError
from pipeline.cli.submit import submit_all
from pipeline.clock import now
from pipeline.errors import PipelineError
from pipeline.publish.export import FORMATS, chosen_format, export
from pipeline.settings import Settings, env_file_warnings
from pipeline.steps import Workspace


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="phygitals-pipeline", prog_name="phygitals", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:  # noqa: ARG001 - `main` looks for the flag itself, since parsing may fail
    """Poll Phygitals pack purchases until they are final, and publish the pulls."""
    for warning in env_file_warnings():
        print_error(f"Warning: {warning}")


@cli.command()
@click.argument("ids_or_files", nargs=-1, required=True, metavar="ID... | FILE... | -")
def submit(ids_or_files: tuple[str, ...]) -> None:
    """Put session ids, or files of them, into the inbox.

    An argument that is an existing file is submitted as a file (.txt, .csv, .jsonl, .ndjson, .parquet), any other as a
    session id; - reads ids from standard input, one per line. The next refresh reads them.
    """
    for line in submit_all(Workspace.open().data, ids_or_files, now()):
        say(line)


@cli.command()
def refresh() -> None:
    """Run the whole job: read the inbox, poll, rebuild changed tables, publish."""
    _refresh(Workspace.open())


def _refresh(workspace: Workspace) -> None:
    # Importing Dagster takes seconds; only this needs it.
    from pipeline.cli.progress import polling_progress
    from pipeline.cli.refresh import run_refresh
    from pipeline.cli.summary import print_summary

    with polling_progress(console()) as on_progress:
        run_refresh(say, on_progress)
    print_summary(console(), workspace.data)
    say(f"DuckDB:  {workspace.data.warehouse}")
    say(f"Parquet: {workspace.data.lake}")
    say(f"Report:  {workspace.data.report}")


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
def init(folder: Path) -> None:
    """Make a project folder: .env, workspace.yaml, dagster_home, and an example of a packs file.

    FOLDER is the working directory by default. Commands use the folder in which they are started. Existing files are
    not replaced.
    """
    from pipeline.cli.init import make_project

    for path in make_project(folder):
        say(f"made {path}")
    say(f"Next: in {folder.absolute()}, run `phygitals demo`, or set PHYGITALS_ENV and PHYGITALS_API_KEY in .env.")


@cli.command()
@click.option("--sessions", type=click.IntRange(min=1), default=2500, show_default=True, help="Purchases to invent.")
def demo(sessions: int) -> None:
    """Run the job on invented purchases against the bundled simulator.

    It needs no account and no key, and works in the environment local only. It polls for 12 seconds, or for
    PHYGITALS_POLL_BUDGET.
    """
    from pipeline.cli.demo import next_steps, open_demo

    workspace = open_demo(sessions)
    _refresh(workspace)
    for line in next_steps(workspace.data):
        say(line)


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="The UI's port.")
def dev(port: int) -> None:
    """Open the Dagster UI on loopback, with schedule and sensors running, until Ctrl-C."""
    from pipeline.cli.dev import serve_dagster

    serve_dagster(port)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(as_json: bool) -> None:
    """Show what is pending, the last run, what is published, and what needs a person.

    The exit code is 3 when something needs a person, else 0.
    """
    from pipeline.cli.json_output import print_json
    from pipeline.cli.status import NEEDS_A_PERSON, status_of
    from pipeline.cli.status_page import print_status

    found = status_of(Workspace.open_for_reading())
    if as_json:
        print_json(found)
    else:
        print_status(console(), found)
    if found.needs_person:
        raise click.exceptions.Exit(NEEDS_A_PERSON)


@cli.command()
@click.option("--as-of", metavar="TIME", help="The time of the tables (ISO 8601; UTC without a zone).")
@click.option(
    "--into", type=click.Path(path_type=Path), metavar="DIR", help="A new folder for the tables of that time."
)
def rebuild(as_of: str | None, into: Path | None) -> None:
    """Rebuild every table from raw, and the report; with --as-of and --into, the tables as of a past time."""
    workspace = Workspace.open_for_reading()
    if as_of is None and into is None:
        published = workspace.rebuild()
        workspace.report()
    elif as_of is None or into is None:
        raise click.UsageError("--as-of and --into must be given together")
    else:
        try:
            moment = datetime.fromisoformat(as_of)
        except ValueError as error:
            raise click.UsageError(f"--as-of {as_of} is refused: use a time such as 2026-03-01T12:00") from error
        published = workspace.rebuild_as_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC), into)
    for name, count in published.row_counts.items():
        say(f"{count:>12,} {name}")
    say(f"DuckDB: {published.path}")


@cli.command()
def report() -> None:
    """Make the report again from the published DuckDB file and print its path."""
    say(f"Report: {Workspace.open_for_reading().report()}")


@cli.command("poll-shard")
@click.argument("shard", type=click.IntRange(min=1), metavar="K")
def poll_shard(shard: int) -> None:
    """Poll shard K of the refresh under way; see PHYGITALS_POLL_SHARDS. A refresh starts it by itself."""
    progress = Workspace.open().poll_shard(shard, lambda _progress: None)
    say(f"{progress.line}; {progress.ending}" if progress else f"shard {shard} needs no process now")


@cli.command("prebuild")
@click.argument("number", type=click.IntRange(min=1), metavar="K")
def prebuild(number: int) -> None:
    """Pre-build share K of the rebuild under way; see PHYGITALS_REBUILD_PROCESSES. A rebuild starts it by itself."""
    count = Workspace.open_for_reading(needs_key=True).prebuild(number)
    say(f"process {number} is not needed now" if count is None else f"parts pre-built: {count:,}")


@cli.command()
@click.argument("session_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def trace(session_id: str, as_json: bool) -> None:
    """Show the trace of a session: its submissions, answers, rows and issues."""
    from pipeline.catalog import trace as traces
    from pipeline.cli.json_output import print_json
    from pipeline.cli.table_output import print_rows

    data = Workspace.open_for_reading().data
    if as_json:
        if record := traces.trace_record(data, session_id):
            print_json(record)
            return
    elif sum(print_rows(console(), chapter, title) for title, chapter in traces.trace(data, session_id)):
        return
    raise click.ClickException(f"{session_id!r} was never submitted in any file or database row read so far")


@cli.command()
@click.argument("sql")
@click.option(
    "--format", "asked", type=click.Choice(FORMATS), help="The output format. [default: by FILE's suffix, else a table]"
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file for the rows; replaced if it exists.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Maximum rows of a printed table; 0 = all.",
)
def query(sql: str, asked: str | None, output: Path | None, limit: int) -> None:
    """Run SQL on the published DuckDB file and print the rows, or write them as CSV, JSON or Parquet.

    In CSV, text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    from pipeline.cli.table_output import print_rows
    from pipeline.publish.reading import next_rows, open_for_queries, require_one_result, require_read_only
    from pipeline.report.wording import counted
    from pipeline.storage.error_translation import exceeds_memory

    if not sql.strip(" \n\t;"):
        raise click.ClickException("the SQL is empty: give a query such as 'FROM item_types'")
    chosen = chosen_format(asked, output)
    data = Workspace.open_for_reading().data
    with open_for_queries(data.current(data.warehouse), data.memory_limit) as connection:
        try:
            require_read_only(connection, sql)
            require_one_result(connection, sql)
            if chosen:
                export(connection, sql, chosen, output, data)
                return
            cursor = connection.execute(sql)
            count = print_rows(console(), cursor, limit=limit or None)
            is_cut = cursor.description is not None and bool(next_rows(cursor, 1))
        except duckdb.Error as error:
            if exceeded := exceeds_memory(error, data.memory_limit):
                raise click.ClickException(str(exceeded)) from error
            raise SqlError(str(error)) from error
    if is_cut:
        say(f"the first {counted(count, 'row')}; --limit 0 prints all, --output FILE writes all")
    else:
        say(counted(count, "row"))


@cli.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address; others than loopback require a token."
)
@click.option("--port", type=click.IntRange(0, 65535), default=2718, show_default=True, help="0 takes any free port.")
@click.option(
    "--export",
    "exported",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Instead of serving, write one static HTML page; replaced if it exists.",
)
def explore(host: str, port: int, exported: Path | None) -> None:
    """Serve an interactive page on the published DuckDB file until Ctrl-C: filters, figures, pulls, questions, SQL.

    It needs marimo: pip install 'phygitals-pipeline[explore]'.
    """
    from pipeline.cli.explore import export_page, serve_page

    if exported is not None:
        export_page(exported)
        say(f"Page: {exported}")
    else:
        serve_page(host, port)


@cli.command()
@click.option("--keep-days", type=click.IntRange(1, 36_500), help="Days to keep. [default: PHYGITALS_KEEP_RUN_DAYS]")
def prune(keep_days: int | None) -> None:
    """Remove old runs and their logs from Dagster's history. Data are not touched.

    Keeps unfinished runs and runs with the latest state of an asset.
    """
    from pipeline.orchestration.retention import prune_history

    days = Settings.load(needs_key=False).keep_run_days if keep_days is None else keep_days
    say(prune_history(days, say).line)


@cli.command()
@click.option("--mode", type=click.Choice(["sandbox", "production"]), default="production", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0 takes any free port.")
@click.option("--hold", type=click.FloatRange(min=0), default=6.0, show_default=True, help="Seconds to hold a call.")
@click.option(
    "--fault-rate", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of broken calls."
)
@click.option(
    "--rate-limit", type=click.IntRange(min=0), default=0, show_default=True, help="Calls per second; 0 = no limit."
)
@click.option("--seed", type=int, default=None, help="Determines the outcome of each session.")
@click.option("--key", metavar="KEY", help="Refuse every other API key with HTTP 401. [default: any key is accepted]")
@click.option(
    "--submissions",
    type=click.IntRange(min=1),
    help="Instead of serving, write that many submissions to the local inbox.",
)
def simulate(
    mode: str,
    port: int,
    hold: float,
    fault_rate: float,
    rate_limit: int,
    seed: int | None,
    key: str | None,
    submissions: int | None,
) -> None:
    """Serve the bundled simulator on loopback until Ctrl-C.

    In sandbox mode it knows only sessions whose id is a UUID; in production mode it knows every session.
    """
    from pipeline.cli.simulate import serve_until_interrupted, submit_history
    from pipeline.simulator.catalogue import is_session_id
    from pipeline.simulator.server import DEFAULT_SEED, Simulator

    if submissions is not None:
        say(submit_history(Workspace.open(), submissions))
        return
    simulator = Simulator(
        mode="sandbox" if mode == "sandbox" else "production",
        seed=DEFAULT_SEED if seed is None else seed,
        hold=hold,
        fault_rate=fault_rate,
        rate_limit=rate_limit,
        known=is_session_id if mode == "sandbox" else lambda _: True,
        key=key,
    )
    serve_until_interrupted(simulator, port)


def main() -> None:
    """The console script. Errors are one line on stderr; the exit code is 0 only on success.

    `status` succeeds with 3 when something needs a person.
    """
    open_closed_streams()
    try:
        sys.exit(cli(standalone_mode=False))
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.exceptions.NoArgsIsHelpError as without_arguments:
        without_arguments.show()
        sys.exit(without_arguments.exit_code)
    except (click.Abort, KeyboardInterrupt):
        print_error("Stopped.")
        sys.exit(130)
    except Exception as error:
        if "--debug" in sys.argv[1:2]:
            print_error("".join(traceback.format_exception(error)).rstrip())
            sys.exit(1)
        print_error("Error: " + _in_one_line(error).replace("\n", "\\n"))
        if isinstance(error, SqlError) and error.excerpt:
            print_excerpt(error.excerpt)
        sys.exit(error.exit_code if isinstance(error, click.ClickException) else 1)


def _in_one_line(error: Exception) -> str:
    match error:
        case click.UsageError(ctx=click.Context(command_path=command)):
            return f"{error.format_message()} (see `{command} --help`)"
        case click.ClickException():
            return error.format_message()
        case PipelineError():
            return str(error)
        case _:
            words = " ".join(str(error).split()) or type(error).__name__
            return f"{words} (this is unexpected; `phygitals --debug ...` shows the traceback)"


if __name__ == "__main__":
    main()

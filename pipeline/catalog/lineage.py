"""Derives the column lineage from the SQL.

The sources of a value are the columns in its expression, not those in joins, filters or sort keys. Macros count as
functions of their arguments. `python -m pipeline.catalog.lineage` writes the record that `recorded_lineage` reads; it
needs sqlglot, a development dependency.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope

from pipeline.catalog.recorded_lineage import RECORD, Origin
from pipeline.errors import PipelineError
from pipeline.schema import TABLES
from pipeline.schema.table import Table
from pipeline.transform.queries import answers_of, query

_ANSWERS = "answers"  # the view of tables with `reads_answer_text`
_ANSWER_COLUMNS = {"text": "body"} | {
    name: name for name in ("session_id", "received_at", "body_sha256", "outcome", "body", "has_repeated_keys")
}


class LineageError(PipelineError):
    """The lineage of a query cannot be determined. The message names the query."""


@functools.cache
def origins(table: Table) -> dict[str, tuple[Origin, ...]]:
    """The source columns of each column of a derived table, in the tables read by its SQL.

    Raises LineageError.
    """
    if not table.sources:
        return {column.name: () for column in table.columns}
    columns: dict[str, object] = {
        source.name: {c.name: "VARCHAR" for c in source.columns} for source in TABLES.values()
    }
    columns[_ANSWERS] = dict.fromkeys(_ANSWER_COLUMNS, "VARCHAR")
    try:
        tree = parse_one(query(table), dialect="duckdb")
        scope = build_scope(qualify(tree, dialect="duckdb", schema=columns, validate_qualify_columns=False))
    except SqlglotError as error:
        raise LineageError(f"the query of {table.name} cannot be parsed: {error}") from error
    if scope is None:
        raise LineageError(f"the query of {table.name} is not a SELECT")
    found = _Reader(table).outputs(scope)
    _refuse_other_columns(table, list(found))
    return {column.name: _in_order(found[column.name]) for column in table.columns}


@functools.cache
def asset_origins(table: Table) -> dict[str, tuple[Origin, ...]]:
    """The source columns in assets and in tables read from files; intermediate tables are resolved."""
    return {
        name: _in_order({seen for origin in direct for seen in _visible(origin)})
        for name, direct in origins(table).items()
    }


def _refuse_other_columns(table: Table, selected: list[str]) -> None:
    # Columns behind the declared ones are left to the build: `fulfilled_results` has one for its reader.
    for position, column in enumerate(table.columns):
        name = selected[position] if position < len(selected) else "no column"
        if name != column.name:
            raise LineageError(
                f"the query of {table.name} selects {name} at position {position + 1}, where {column.name} is "
                "declared: select the declared columns, in their order"
            )


def _in_order(found: set[Origin]) -> tuple[Origin, ...]:
    return tuple(sorted(found, key=lambda origin: origin.label))


def _visible(origin: Origin) -> Iterator[Origin]:
    table = TABLES[origin.table]
    if table.is_asset or not table.sources:
        yield origin
    elif origin.column is None:
        yield from (Origin(name, None) for name in table.sources if TABLES[name].is_asset)
    else:
        for inner in origins(table)[origin.column]:
            yield from _visible(inner)


class _Reader:
    """Follows the columns of one query through its subqueries."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._known: dict[int, dict[str, set[Origin]]] = {}

    def outputs(self, scope: Scope) -> dict[str, set[Origin]]:
        """The sources of each column that the scope selects."""
        if id(scope) not in self._known:
            self._known[id(scope)] = self._union(scope) if scope.set_operation_scopes else self._selected(scope)
        return self._known[id(scope)]

    def _union(self, scope: Scope) -> dict[str, set[Origin]]:
        first, *others = (list(self.outputs(branch).items()) for branch in scope.set_operation_scopes)
        return {
            name: found.union(*(branch[position][1] for branch in others))
            for position, (name, found) in enumerate(first)
        }

    def _selected(self, scope: Scope) -> dict[str, set[Origin]]:
        # By position as well as by name: the later branches of a union need no names.
        found: dict[str, set[Origin]] = {}
        for position, selected in enumerate(scope.expression.expressions):
            found[selected.alias_or_name or str(position)] = set(self._sources(scope, selected))
        return found

    def _sources(self, scope: Scope, expression: exp.Expression) -> Iterator[Origin]:
        for column in expression.find_all(exp.Column):
            is_own = column.find_ancestor(exp.Select) is scope.expression
            if is_own and not _is_parameter(column) and not _only_ranks(column):
                yield from self._of_column(scope, column)
        for count in expression.find_all(exp.Count):
            if isinstance(count.this, exp.Star) and count.find_ancestor(exp.Select) is scope.expression:
                yield from self._of_rows(scope)
        inside = {id(select) for select in expression.find_all(exp.Query)}
        for inner in scope.subquery_scopes:
            if id(inner.expression) in inside:
                yield from set().union(*self.outputs(inner).values())

    def _of_column(self, scope: Scope, column: exp.Column) -> Iterator[Origin]:
        source = scope.sources.get(column.table)
        if isinstance(source, Scope) and isinstance(source.expression, exp.Values):
            return  # literals of the query have no source
        if isinstance(source, Scope):
            outputs = self.outputs(source)
            if column.name in outputs:
                yield from outputs[column.name]
                return
        elif source is not None:
            yield from self._declared(source.name, column.name)
            return
        raise LineageError(
            f"the query of {self._table.name} has no source for {column.sql('duckdb')}: qualify the column"
        )

    def _of_rows(self, scope: Scope) -> Iterator[Origin]:
        for branch in scope.set_operation_scopes:
            yield from self._of_rows(branch)
        for _, relation in scope.selected_sources.values():
            if isinstance(relation, Scope):
                yield from self._of_rows(relation)
            else:
                yield from self._declared(relation.name, None)

    def _declared(self, relation: str, column: str | None) -> Iterator[Origin]:
        """The sources of a column of a relation that the query does not define."""
        if relation == _ANSWERS:
            yield Origin(answers_of(self._table).name, _ANSWER_COLUMNS[column] if column else None)
        else:
            yield Origin(relation, column)


def _only_ranks(column: exp.Column) -> bool:
    """Whether the column only ranks rows in arg_min, arg_max or a window, to choose a value of another column."""
    chooser = column.find_ancestor(exp.ArgMin, exp.ArgMax, exp.Window)
    if chooser is None:
        return False
    values = [id(value) for value in chooser.this.find_all(exp.Column)]
    return bool(values) and id(column) not in values


def _is_parameter(column: exp.Column) -> bool:
    """Whether the column is a parameter of a lambda, or a field of one."""
    first = column.parts[0].name
    ancestor = column.find_ancestor(exp.Lambda)
    while ancestor is not None:
        if first in {parameter.name for parameter in ancestor.expressions}:
            return True
        ancestor = ancestor.find_ancestor(exp.Lambda)
    return False


def render() -> str:
    """The record of all assets' columns as JSON, one line per column for readable diffs."""
    tables = [
        f"{json.dumps(table.name)}: {{\n"
        + ",\n".join(f"  {json.dumps(name)}: {json.dumps(found)}" for name, found in asset_origins(table).items())
        + "\n}"
        for table in TABLES.values()
        if table.is_asset and table.sources
    ]
    return "{\n" + ",\n".join(tables) + "\n}\n"


if __name__ == "__main__":
    RECORD.write_text(render(), encoding="utf-8")

"""Arrays made without pyarrow's own conversion are what that would have made."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.storage.arrow_columns import column

NO_SURROGATES = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = {
    pa.string(): NO_SURROGATES,
    pa.binary(): st.binary(),
    pa.bool_(): st.booleans(),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.timestamp("us", tz="UTC"): st.integers(-(2**62), 2**62),
}


@pytest.mark.parametrize("kind", VALUES, ids=str)
@settings(deadline=None)
@given(data=st.data())
def test_a_column_is_the_array_that_pyarrow_makes(kind, data):
    values = data.draw(st.lists(st.none() | VALUES[kind]))
    made = column(values, kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, kind))


def test_polling_and_its_log_do_without_pandas(tmp_path):
    script = """
import sys, pathlib, datetime
import pipeline.polling.run
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.raw_log import Response, ResponseLog
log = ResponseLog(DataDirectory(pathlib.Path(sys.argv[1])), STATUS_RESPONSES, datetime.datetime.now(datetime.UTC))
log.append(Response("a", 1, 2, 200, None, b"{}", "pending", None))
log.close()
assert "pandas" not in sys.modules, "pandas was imported"
"""
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)]).returncode == 0
    assert list(tmp_path.rglob("*.parquet"))

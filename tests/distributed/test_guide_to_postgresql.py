"""What the guide shows for PostgreSQL runs as it stands, and shows enough."""

from __future__ import annotations

import re

from pipeline.settings import PROJECT_ROOT, Settings
from pipeline.steps import Workspace
from tests.support.postgresql import PASSWORD, READER
from tests.support.workspace import drop


def test_its_settings_and_its_role_are_enough(shop, tmp_path, configure, monkeypatch):
    guide = (PROJECT_ROOT / "docs" / "how-to" / "postgresql.md").read_text(encoding="utf-8")
    (settings,) = re.findall(r"```ini\n(.*?)```", guide, re.DOTALL)
    (statements,) = re.findall(r"```sql\n(.*?)```", guide, re.DOTALL)
    role = "reader_of_the_guide"
    made = [
        statement.replace("'…'", f"'{PASSWORD}'").replace(READER, role) for statement in statements.split(";\n")[:-1]
    ]
    shop.cluster.run(*made)
    try:
        for name in ("URL", "QUERY"):
            monkeypatch.delenv(f"PHYGITALS_SUBMISSIONS_{name}")
        dotenv = tmp_path / "dotenv"
        dotenv.write_text(settings)
        loaded = Settings.load(dotenv)
        assert loaded.submissions_url is not None
        assert loaded.submissions_url.get_secret_value().endswith(":…@db.example.com:5432/shop?sslmode=verify-full")
        configure(submissions_url=shop.cluster.url(role), submissions_query=loaded.submissions_query)
        shop.add("a", None, "b")
        drop(Workspace.open(), "a.txt", "c\n")
        report = Workspace.open().take_in()
        assert report.left == {}
        assert report.total("accepted") == 3
        assert Workspace.open().take_in().files == []
    finally:
        shop.cluster.run(f"DROP OWNED BY {role}", f"DROP ROLE {role}")

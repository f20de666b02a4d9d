"""The settings at the time of loading the definitions.

Definitions load even with invalid settings; the run that needs them reports the error.
"""

from __future__ import annotations

from pipeline.settings import Settings, SettingsError


def _load() -> Settings | None:
    try:
        return Settings.load(needs_key=False)
    except SettingsError:
        return None


VALID_SETTINGS = _load()
SETTINGS = VALID_SETTINGS or Settings.model_construct()

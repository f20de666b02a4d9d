"""The settings that the definitions are made with: those of the time when they were loaded.

Definitions load whatever the settings are; what is wrong with them is said by the run that needs them.
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

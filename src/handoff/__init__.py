"""Handoff assigns a bot conversation to a human agent: exactly once, durably, and tells the caller so.

    with TestClient(create_app(settings)) as client: ...

runs the whole service. The names below are the public ones; they are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from handoff.bootstrap import create_app
    from handoff.directory import load_directory
    from handoff.settings import Settings, SettingsError

__all__ = ["Settings", "SettingsError", "create_app", "load_directory"]
__version__ = "0.1.0"

_HOMES = {
    "create_app": "handoff.bootstrap",
    "load_directory": "handoff.directory",
    "Settings": "handoff.settings",
    "SettingsError": "handoff.settings",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

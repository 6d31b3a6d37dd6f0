"""Who gets the session: every row of the table that the contract gives, on both stores."""

from collections.abc import Iterator
from typing import Any

import pytest

from conftest import StartService  # noqa: F401

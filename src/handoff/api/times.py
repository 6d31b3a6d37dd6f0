"""Times in the vendor's documented form."""

from datetime import UTC, datetime


def iso_time(at_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds, as in 2025-11-19T07:02:47.264Z."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

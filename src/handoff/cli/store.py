"""Commands on the store: `migrate`, `doctor`, `purge`."""

import json
import sys
from collections.abc import Sequence

import click

from handoff.cli.common import Progress, json_option, load_settings, told_in_a_sentence
from handoff.migrating import migrate_store, prepare_store
from handoff.outboxes import retaining
from handoff.service.audit import Violation
from handoff.stores import open_audit


@click.command()
@told_in_a_sentence
def migrate() -> None:
    """Bring the database to the revision that this version needs."""
    before, after = migrate_store(load_settings())
    click.echo(f"already at revision {after}" if before == after else f"migrated from {before or 'nothing'} to {after}")


@click.command()
@click.option("--repair", is_flag=True, help="Set every agent's count of sessions right.")
@json_option
@told_in_a_sentence
def doctor(*, repair: bool, as_json: bool) -> None:
    """Check the invariants I1 to I6, and the feed for gaps, in the stored rows; exit 1 on any violation."""
    audit = open_audit(load_settings())
    try:
        repaired = audit.repair_counters() if repair else 0
        violations = audit.violations()
    finally:
        audit.close()
    if as_json:
        rows = [{"invariant": v.invariant, "subject": v.subject, "detail": v.detail} for v in violations]
        click.echo(json.dumps({"violations": rows, "repaired": repaired}))
    else:
        _show(violations, repaired)
    sys.exit(1 if violations else 0)


def _show(violations: Sequence[Violation], repaired: int) -> None:
    if repaired:
        click.echo(f"repaired the counts of {repaired} agents")
    for violation in violations:
        click.echo(f"{violation.invariant}  {violation.subject}  {violation.detail}")
    click.echo(f"{len(violations)} violations" if violations else "every invariant holds")


@click.command()
@json_option
@told_in_a_sentence
def purge(*, as_json: bool) -> None:
    """Delete callbacks and events whose time is over, which dispatchers also do every ten minutes.

    Delivered callbacks after HANDOFF_RETENTION_DELIVERED_DAYS, dead and cancelled ones after
    HANDOFF_RETENTION_DEAD_DAYS, events after HANDOFF_RETENTION_EVENTS_DAYS.
    """
    settings = load_settings()
    prepare_store(settings)
    progress = Progress()
    with retaining(settings) as retention:
        purged = retention.purge(lambda purged: progress(purged.callbacks + purged.events))
    progress.end()
    if as_json:
        click.echo(json.dumps({"purged": purged.callbacks, "purgedEvents": purged.events}))
    else:
        click.echo(f"purged {purged.callbacks} callbacks and {purged.events} events")

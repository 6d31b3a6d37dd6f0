"""`handoff agents …`: look at agents of every account, make and delete them, and tell whether they are there."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import click
from pydantic import ValidationError
from tabulate import tabulate

from handoff.api.agent_objects import agent_object
from handoff.api.agent_schemas import NewAgent
from handoff.api.sentences import sentence_of
from handoff.cli.common import account_option, json_option, load_settings, told_in_a_sentence
from handoff.cli.times import shown_time
from handoff.domain.ids import is_id
from handoff.domain.model import OPERATOR, AgentStatus
from handoff.domain.presence import shown_status
from handoff.migrating import prepare_store
from handoff.service.agent_store import AgentFilter, DirectoryRefused, OrgScope, StoredAgent
from handoff.service.agents import DEFAULT_SLOTS, MAX_SLOTS, MAX_STATUS_S, Agents
from handoff.settings import SettingsError
from handoff.stores import open_agents

_PAGE: Final = 200
# Orgs that a mistake is told with: enough to see what they look like.
_ORGS_NAMED: Final = 10

_agent_id: Final = click.argument("agent_id")


@click.group()
def agents() -> None:
    """Agents: who there is, who is there, and what they can take."""


@agents.command("list")
@account_option
@click.option("--org", help="Of this org only.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at the most.")
@json_option
@told_in_a_sentence
def list_(*, account: str | None, org: str | None, limit: int, as_json: bool) -> None:
    """List agents, of each account in the order of their ids."""
    with _opened() as opened:
        found: list[StoredAgent] = []
        for account_id in _accounts(opened, account):
            found += _first(opened, OrgScope(account_id=account_id, org_id=org), limit + 1 - len(found))
        now_ms = opened.clock.now_ms()
    shown = found[:limit]
    if as_json:
        click.echo(json.dumps([_as_json(agent, now_ms) for agent in shown]))
    elif shown:
        click.echo(tabulate([_as_row(agent, now_ms) for agent in shown], headers="keys", disable_numparse=True))
    else:
        click.echo("no such agents")
    if len(found) > limit:
        click.echo(f"there are more than these {limit}: say --limit", err=True)


@agents.command()
@_agent_id
@account_option
@json_option
@told_in_a_sentence
def show(agent_id: str, *, account: str | None, as_json: bool) -> None:
    """Show one agent with its status, load, skills and queues."""
    with _opened() as opened:
        agent = opened.get(_scope_of(opened, agent_id, account), agent_id)
        _tell(agent, opened.clock.now_ms(), as_json=as_json)


@agents.command()
@click.option("--email", "emailId", required=True, help="Nobody else of the org may have it.")
@click.option("--first-name", "firstName", required=True)
@click.option("--last-name", "lastName", required=True)
@click.option("--account", help="In this account, where there are several.")
@click.option("--org", help="In this org, where there are several.")
@click.option("--id", "id", help="The agent's id [made].")
@click.option("--user-id", "userId", help="The id of the user who the agent is [made].")
@click.option("--custom-id", "customId", help="The agent's id in another system.")
@click.option(
    "--slots",
    "maxChatSupport",
    type=click.IntRange(0, MAX_SLOTS),
    default=DEFAULT_SLOTS,
    show_default=True,
    help="How many sessions the agent can hold.",
)
@click.option("--skill", "skills", multiple=True, help="A skill's id; may be given several times.")
@click.option("--queue", "queues", multiple=True, help="A queue's id; may be given several times.")
@json_option
@told_in_a_sentence
def create(*, account: str | None, org: str | None, as_json: bool, **said: Any) -> None:  # noqa: ANN401 (options)
    """Make an agent, OFFLINE until told otherwise."""
    fields = _valid(said).fields()
    with _opened() as opened:
        account_id, org_id = _place(opened, account, org)
        made = opened.create(account_id, org_id, fields, created_by=OPERATOR)
        _tell(made, opened.clock.now_ms(), as_json=as_json)


@agents.command()
@_agent_id
@click.argument("status", type=click.Choice([status.value for status in AgentStatus], case_sensitive=False))
@click.option("--expires-in", type=click.IntRange(1, MAX_STATUS_S), help="Seconds until it reads OFFLINE [never].")
@account_option
@json_option
@told_in_a_sentence
def status(agent_id: str, status: str, *, expires_in: int | None, account: str | None, as_json: bool) -> None:
    """Tell whether the agent AGENT_ID is there; the same again renews how long it holds."""
    with _opened() as opened:
        scope = _scope_of(opened, agent_id, account)
        opened.set_status(scope, agent_id, AgentStatus(status), expires_in_s=expires_in)
        agent, now_ms = opened.get(scope, agent_id), opened.clock.now_ms()
    if as_json:
        click.echo(json.dumps(_as_json(agent, now_ms)))
    else:
        click.echo(f"{agent_id} is {shown_status(agent.agent, now_ms).value}{_until(agent, now_ms)}")


@agents.command()
@_agent_id
@account_option
@json_option
@told_in_a_sentence
def delete(agent_id: str, *, account: str | None, as_json: bool) -> None:
    """Delete an agent, which must hold no session."""
    with _opened() as opened:
        gone = opened.delete(_scope_of(opened, agent_id, account), agent_id)
        click.echo(json.dumps(_as_json(gone, opened.clock.now_ms())) if as_json else f"{agent_id} is deleted")


@contextmanager
def _opened() -> Iterator[Agents]:
    settings = load_settings()
    prepare_store(settings)
    opened, _ = open_agents(settings)
    try:
        yield opened
    except DirectoryRefused as refused:
        raise SettingsError(refused.detail) from None
    finally:
        opened.store.close()


def _valid(said: Mapping[str, Any]) -> NewAgent:
    """What was said, by the rules of the API."""
    try:
        return NewAgent.model_validate({name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(sentence_of(error)) from None


def _accounts(opened: Agents, account: str | None) -> Sequence[str]:
    return [account] if account else opened.store.accounts()


def _scope_of(opened: Agents, agent_id: str, account: str | None) -> OrgScope:
    """The account that has the agent. Raises SettingsError where none has, or several."""
    scopes = [OrgScope(account_id=one) for one in _accounts(opened, account)]
    having = [scope for scope in scopes if is_id(agent_id) and opened.store.get(scope, agent_id) is not None]
    if not having:
        raise SettingsError(f"there is no agent {agent_id}" + (f" in account {account}" if account else ""))
    if len(having) > 1:
        names = ", ".join(scope.account_id for scope in having)
        raise SettingsError(f"agent {agent_id} is in several accounts ({names}): name one with --account")
    return having[0]


def _place(opened: Agents, account: str | None, org: str | None) -> tuple[str, str]:
    """The account and org to make an agent in: those that are named, or the only ones there are."""
    known = [(scope.account_id, scope.org_id) for scope in opened.store.orgs() if scope.org_id is not None]
    fitting = [(one, other) for one, other in known if account in {None, one} and org in {None, other}]
    if len(fitting) == 1:
        return fitting[0]
    names = "; ".join(f"--account {one} --org {other}" for one, other in (fitting or known)[:_ORGS_NAMED])
    if not known:
        raise SettingsError("there is no org yet: bring its stream in with `handoff import`")
    raise SettingsError(f"there {'are several' if fitting else 'is no such'} org: name one of {names}")


def _first(opened: Agents, scope: OrgScope, limit: int) -> list[StoredAgent]:
    found: list[StoredAgent] = []
    after: str | None = ""
    while after is not None and limit > len(found):
        page = opened.store.find(
            scope, AgentFilter(), after=after, limit=min(limit - len(found), _PAGE), with_queues=True
        )
        found += page.agents
        after = page.next_after
    return found


def _tell(agent: StoredAgent, now_ms: int, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_as_json(agent, now_ms)))
        return
    shown = {
        **_as_row(agent, now_ms),
        "user": agent.user_id,
        "custom id": agent.custom_id or "",
        "skills": ", ".join(agent.skills),
        "queues": ", ".join(one.queue_id for one in agent.queues or ()),
    }
    click.echo(tabulate(list(shown.items()), tablefmt="plain", disable_numparse=True))


def _as_json(agent: StoredAgent, now_ms: int) -> dict[str, Any]:
    """The agent as the API shows it."""
    return agent_object(agent, now_ms).model_dump(mode="json", by_alias=True, exclude_unset=True)


def _as_row(agent: StoredAgent, now_ms: int) -> dict[str, str]:
    facts = agent.agent
    return {
        "agent": facts.agent_id,
        "account": facts.account_id,
        "org": facts.org_id,
        "status": f"{shown_status(facts, now_ms).value}{_until(agent, now_ms)}",
        "sessions": f"{facts.active_sessions}/{facts.max_sessions}",
        "name": f"{agent.first_name} {agent.last_name}".strip(),
        "email": agent.email_id,
    }


def _until(agent: StoredAgent, now_ms: int) -> str:
    expires_at = agent.agent.status_expires_at
    return f" until {shown_time(expires_at)}" if expires_at is not None and expires_at > now_ms else ""

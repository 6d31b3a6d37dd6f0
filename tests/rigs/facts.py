"""Facts for tests that speak to the stores directly."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from handoff.domain.model import AssignRequest, Callback, KeyUse, SessionState, Target, TargetKind, Transfer
from handoff.service.ports import ClaimedCallback, DueLane, LaneShare
from rigs import sample

HOUR_MS = 3_600_000
TRANSFER = Transfer(
    account_id=sample.ACCOUNT,
    transfer_id="tr_1",
    app_id=sample.APP,
    stream_id=sample.STREAM,
    org_id=sample.ORG,
    session_id=sample.SESSION,
    target=Target(TargetKind.AGENT, sample.AGENT),
    expected_agent_id=None,
    previous_state=SessionState.BOT,
    previous_holder_id=None,
    status=200,
    code=None,
    version=1,
    completed_at=1_000,
    callback_url="http://localhost:8009/",
    request_id="r-1",
    body='{"name":"Zoë"}'.encode(),
)
CALLBACK = Callback(
    account_id=sample.ACCOUNT,
    callback_id="msg_1",
    transfer_id="tr_1",
    app_id=sample.APP,
    url="http://localhost:8009/",
    lane="http://localhost:8009",
    body=b"{}",
    due_at=1_000,
    expires_at=HOUR_MS,
)
CLAIMED = ClaimedCallback(
    account_id=sample.ACCOUNT,
    callback_id="msg_1",
    transfer_id="tr_1",
    app_id=sample.APP,
    url=CALLBACK.url,
    lane=CALLBACK.lane,
    body=CALLBACK.body,
    number=1,
    is_retry=False,
    claim=1,
    expires_at=CALLBACK.expires_at,
    lease_token="one",
)
CALL = AssignRequest(
    account_id=sample.ACCOUNT,
    app_id=sample.APP,
    stream_id=sample.STREAM,
    stream_org_id=sample.ORG,
    org_id=sample.ORG,
    session_id=sample.SESSION,
    target=Target(TargetKind.AGENT, sample.AGENT),
    callback_url="https://one.example",
    request_id="req",
)
KEY = KeyUse(
    account_id=sample.ACCOUNT, app_id=sample.APP, key="k", fingerprint="f", transfer_id="tr_1", created_at=1_000
)


def transfer(number: int, **changes: Any) -> Transfer:
    """One more transfer, told apart by its number."""
    return replace(TRANSFER, **{"transfer_id": f"tr_{number}", **changes})


def callback(number: int, **changes: Any) -> Callback:
    """One more callback, told apart by its number."""
    return replace(CALLBACK, **{"callback_id": f"msg_{number}", "transfer_id": f"tr_{number}", **changes})


class UpTo:
    """A plan that takes up to so many of every lane, first attempts and retries alike, and tells what was due."""

    def __init__(self, limit: int) -> None:
        self.due: Sequence[DueLane] = ()
        self._limit = limit

    def shares(self, due: Sequence[DueLane]) -> Mapping[str, LaneShare]:
        self.due = due
        return {lane.name: LaneShare(fresh=self._limit, retries=self._limit) for lane in due}


class Fixed:
    """A plan that is settled beforehand."""

    def __init__(self, shares: Mapping[str, LaneShare]) -> None:
        self._shares = shares

    def shares(self, due: Sequence[DueLane]) -> Mapping[str, LaneShare]:
        del due
        return self._shares

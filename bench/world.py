"""What every side is asked about: accounts with apps, agents and sessions, all known by number, and the calls for them.

Session `n` belongs to account `n % accounts`. Ids grow with the number, as the vendor's grow with time.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import jwt

from rigs import sample

# Of the world with many tokens; that with one token is its first account and app.
ACCOUNTS = 4
APPS = 8
TOKENS = 5_000
AGENTS = 200
# The most that an agent may have: 200 of them have room for two million sessions.
SLOTS = 10_000

# `one`: one token of one app. `many`: 5,000 tokens of eight apps in four accounts. `each`: a token for each call,
# seen never before. `forged`: a wrong signature. `unknown`: each of another app that does not exist.
Tokens = Literal["one", "many", "each", "forged", "unknown"]


def account_id(number: int) -> str:
    return f"650d9eb6da96d0bc0d23{number:04d}"


def app_id(number: int) -> str:
    return f"cs-50febaa3-743f-55b3-8956-718e96f6{number:04d}"


def stream_id(account: int) -> str:
    return f"st-a0ec5267-a58a-5fbb-ab0e-e27ebc35{account:04d}"


def org_id(account: int) -> str:
    return f"o-02c0d56d-fd90-5e24-8458-01be1d2e{account:04d}"


def agent_id(number: int) -> str:
    return f"a-8cd2673-0cb7-462d-9453-0ee60e52{number:04d}"


def session_id(number: int) -> str:
    """As an ObjectId: seconds, the machine, a counter."""
    return f"{0x65000000 + number // 50:08x}c9cf425ee5{number % 0x1000000:06x}"


def directory(accounts: int = ACCOUNTS) -> dict[str, list[dict[str, Any]]]:
    """Everything but the sessions, in the shape of `handoff import`'s file."""
    numbers = range(accounts)
    return {
        "apps": [
            sample.app(appId=app_id(app), accountId=account_id(app % accounts), streams=[stream_id(app % accounts)])
            for app in range(APPS)
        ],
        "streams": [{"streamId": stream_id(n), "orgId": org_id(n), "accountId": account_id(n)} for n in numbers],
        "agents": [
            sample.agent(agent_id(agent), accountId=account_id(n), orgId=org_id(n), maxChatSupport=SLOTS)
            for n in numbers
            for agent in range(AGENTS)
        ],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The calls for sessions `first`, `first + 1`, … of so many accounts, each to the agent that is `shift` further."""

    first: int
    count: int
    accounts: int
    tokens: Tokens
    callback_url: str
    shift: int = 0
    # Sessions after so many calls are the first ones again, for the next agent.
    cycle: int = 1_000_000_000

    def requests(self) -> list[bytes]:
        """The bytes of every request."""
        return [self._request(place) for place in range(self.count)]

    def _request(self, place: int) -> bytes:
        number = self.first + place % self.cycle
        account = number % self.accounts
        agent = (number + place // self.cycle + self.shift) % AGENTS
        body = (
            f'{{"callbackUrl": "{self.callback_url}", "orgId": "{org_id(account)}", '
            f'"aId": "{agent_id(agent)}", "botSessionId": "{session_id(number)}"}}'
        )
        return (
            f"POST /agentassist/api/v1/public/{stream_id(account)}/assign-conversation HTTP/1.1\r\n"
            f"host: localhost:8000\r\nuser-agent: bench/1\r\naccept: */*\r\ncontent-type: application/json\r\n"
            f"auth: {_token(self.tokens, number, place)}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        ).encode()


def _token(tokens: Tokens, number: int, place: int) -> str:
    match tokens:
        case "one":
            return signed(app_id(0), 0)
        case "many":
            return signed(app_id(number % APPS), number % TOKENS)
        case "each":
            return signed.__wrapped__(app_id(number % APPS), number)
        case "forged":
            return signed(app_id(0), number % TOKENS, "not the secret of any app, though quite as long as one")
        case "unknown":
            return signed.__wrapped__(f"cs-{place}", 0)


@cache
def signed(app: str, issue: int, secret: str = sample.SECRET) -> str:
    """The token's `iat` is long past and differs with `issue`."""
    return jwt.encode({"appId": app, "iat": 1_700_000_000 + issue}, secret, "HS256")

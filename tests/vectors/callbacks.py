"""Prints callbacks signed by Handoff, for npm packages to judge; README.md beside this file has the recipe.

A case is what the signer was given, the secret that the receiver has, and the headers. A body may end in spaces,
which JSON allows, so that a large one is short to write.
"""

import json
from typing import Any

from handoff.delivery.signature import Signer, app_secret, parse_secret, show_secret

NEW = show_secret(bytes(range(32, 64)))
OLD = show_secret(bytes(range(32)))
SHORTEST = show_secret(bytes(range(24)))
LONGEST = show_secret(bytes(range(64)))
PLAIN = '{"sessionId":"s-1","agentId":"a-2","status":"transferred"}'
UTF_8 = '{"sessionId":"s-1","reason":"größer, 転送, 🤝","nul":"\\u0000"}'
SENT_AT_S = 1_700_000_000


def case(
    name: str, masters: list[str], *, verified_with: str, body: str = PLAIN, spaces: int = 0, webhook_id: str = "msg_01"
) -> dict[str, Any]:
    """A callback of `app-1`; the receiver's secret is the one derived from the master `verified_with`."""
    headers = Signer([parse_secret(master) for master in masters]).headers(
        app_id="app-1", webhook_id=webhook_id, timestamp_s=SENT_AT_S, body=(body + " " * spaces).encode()
    )
    secret = show_secret(app_secret(parse_secret(verified_with), "app-1"))
    return {
        "name": name,
        "masters": masters,
        "app_id": "app-1",
        "secret": secret,
        "body": body,
        "spaces": spaces,
        "headers": headers,
    }


def cases() -> list[dict[str, Any]]:
    return [
        case("plain", [NEW], verified_with=NEW),
        case("utf_8", [NEW], verified_with=NEW, body=UTF_8),
        case("shortest_body", [NEW], verified_with=NEW, body="0"),
        case("large_body", [NEW], verified_with=NEW, spaces=200_000),
        case("shortest_master", [SHORTEST], verified_with=SHORTEST),
        case("longest_master", [LONGEST], verified_with=LONGEST),
        case("real_id", [NEW], verified_with=NEW, webhook_id="msg_019aad5e-5d1c-7c61-8d7b-0c8d3e1f2a3b"),
        case("rotation_new_secret", [NEW, OLD], verified_with=NEW),
        case("rotation_old_secret", [NEW, OLD], verified_with=OLD),
        case("rotation_over", [NEW], verified_with=OLD),
        case("unsigned", [], verified_with=NEW),
    ]


if __name__ == "__main__":
    print(json.dumps(cases()))

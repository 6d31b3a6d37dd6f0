"""The OpenAPI document against the service: whatever it describes is sent, and whatever it forbids."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from schemathesis.schemas import BaseSchema

from handoff import Settings, load_directory
from handoff.domain.refusals import Refusal
from rigs import sample
from rigs.api import new_store
from rigs.conversations import SCOPES
from rigs.service import Service

DOCUMENT = Path(__file__).parents[2] / "docs/openapi.json"
EXAMPLES = 15
LONG_EXAMPLES = 300
# What the document says in words, for want of a way to say it in a schema.
TOLD_IN_WORDS = re.compile(
    r"cursor: send the nextCursor"
    r"|page: (beyond|send page or cursor)"
    r"|agentId, queueId: send one of them"
    r"|The feed has not come to"
    r"|(accountId|orgId|id|userId): must be"
    r"|.*(text must be Unicode|numbers must be finite|nested 16 deep|bytes of JSON)"
    r"|(callbackUrl|orgId|botSessionId|aId|queueId): required"
    r"|queueId: send it with transferredType"
)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = new_store(request, tmp_path_factory)
    load_directory(settings, sample.directory() | {"apps": [sample.app(scopes=SCOPES)]})
    folder = tmp_path_factory.mktemp("service")
    with Service(settings.database_url, folder=folder, settings={"dispatcher": "off"}) as running:
        yield running


@pytest.fixture(scope="module")
def described(service: Service, request: pytest.FixtureRequest) -> BaseSchema:
    is_long = bool(request.config.getoption("--long", default=False))
    config = SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "generation": {"max-examples": LONG_EXAMPLES if is_long else EXAMPLES, "database": "none"},
            "parameters": {"path.streamId": sample.STREAM},
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 401, 403, 404, 409, 410, 422]}},
            "headers": {"auth": sample.token()},
        }
    )
    return schemathesis.openapi.from_url(f"{service.url}/openapi.json", config=config)


operations = schemathesis.pytest.from_fixture("described")


@operations.parametrize()
def test_the_service_answers_as_its_document_says(case: Case) -> None:
    case.call_and_validate(timeout=10)

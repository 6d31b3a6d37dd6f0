"""One service for each kind of store and each file of tests that asks for a desk."""

from collections.abc import Iterator

import pytest

from rigs.api import Api, new_store, serving
from rigs.desk import Desk


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def desk_service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(new_store(request, tmp_path_factory)) as service:
        yield service


@pytest.fixture
def desk(desk_service: Api) -> Desk:
    """Whoever manages the agents of the sample's org, with nothing but the sample's directory."""
    desk_service.reset()
    return Desk(desk_service)

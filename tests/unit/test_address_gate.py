import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import pytest
from aiohttp import ClientConnectorDNSError, ClientConnectorError, ClientSession, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from handoff.delivery.addresses import (
    AddressRefused,
    GatedResolver,
    gated_connector,
    is_local_address,
    refusal_in,
)
from handoff.domain.address_policy import AddressRules, refuse_address, refuse_url

pytestmark = pytest.mark.anyio

DEVELOPMENT = AddressRules(allow_loopback=True, allow_plain_http=True)
PRODUCTION = AddressRules(allow_loopback=False, allow_plain_http=True)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Receiver:
    """A listener that counts connections and bytes, and answers 204 to each request."""

    port: int = 0
    connections: int = 0
    received: bytes = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.received += await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def receiving(host: str = "127.0.0.1") -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with await asyncio.start_server(receiver.serve, host, 0) as server:
        receiver.port = server.sockets[0].getsockname()[1]
        yield receiver


class Answers(AbstractResolver):
    """A resolver with one prepared answer per lookup; the last one is given again and again."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.lookups = 0
        self.is_closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answer = self.answers[min(self.lookups, len(self.answers) - 1)]
        self.lookups += 1
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0) for address in answer
        ]

    async def close(self) -> None:
        self.is_closed = True


async def post(connector: TCPConnector, url: str) -> int:
    async with ClientSession(connector=connector) as session, session.post(url, data=b"{}") as answer:
        return answer.status


async def refused(connector: TCPConnector, url: str) -> AddressRefused:
    with pytest.raises(ClientConnectorError) as failed:
        await post(connector, url)
    refusal = refusal_in(failed.value)
    assert refusal is not None, failed.value
    return refusal


async def test_development_reaches_a_loopback_receiver_by_address_and_by_name() -> None:
    async with receiving() as receiver:
        by_address = await post(gated_connector(DEVELOPMENT), f"http://127.0.0.1:{receiver.port}/")
        by_name = await post(
            gated_connector(DEVELOPMENT, resolver=Answers(["127.0.0.1"])), f"http://hooks.example:{receiver.port}/"
        )

    assert (by_address, by_name) == (204, 204)
    assert receiver.connections == 2


async def test_the_system_resolver_is_asked_by_default() -> None:
    async with receiving() as receiver:
        status = await post(gated_connector(DEVELOPMENT), f"http://localhost:{receiver.port}/")
        refusal = await refused(gated_connector(PRODUCTION), f"http://localhost:{receiver.port}/")

    assert status == 204
    assert refusal.host == "localhost"
    assert receiver.connections == 1


async def test_a_literal_forbidden_address_is_refused_before_any_byte() -> None:
    async with receiving() as receiver:
        refusal = await refused(gated_connector(PRODUCTION), f"http://127.0.0.1:{receiver.port}/")

    assert refusal.reason == "127.0.0.1 is a loopback address (RFC 1122)"
    assert (receiver.connections, receiver.received) == (0, b"")


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "[fd00:ec2::254]", "[64:ff9b::a9fe:a9fe]", "[::]"])
async def test_a_literal_forbidden_address_is_refused_in_development_too(host: str) -> None:
    refusal = await refused(gated_connector(DEVELOPMENT), f"http://{host}/")

    assert ip_address(refusal.address) == ip_address(host.strip("[]"))


@pytest.mark.parametrize("forbidden", ["169.254.169.254", "10.0.0.1", "fd00::1", "::ffff:10.0.0.1", "fe80::1%eth0"])
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_name_with_one_forbidden_address_is_refused_whole(forbidden: str, *, is_first: bool) -> None:
    answer = [forbidden, "127.0.0.1"] if is_first else ["127.0.0.1", forbidden]
    async with receiving() as receiver:
        connector = gated_connector(DEVELOPMENT, resolver=Answers(answer))
        refusal = await refused(connector, f"http://hooks.example:{receiver.port}/")

    assert (refusal.host, refusal.address) == ("hooks.example", forbidden)
    assert receiver.connections == 0


async def test_a_name_that_turns_to_a_forbidden_address_after_intake_is_refused() -> None:
    async with receiving() as receiver:
        url = f"http://hooks.example:{receiver.port}/"
        at_intake = refuse_url(url, PRODUCTION)
        refusal = await refused(gated_connector(PRODUCTION, resolver=Answers(["127.0.0.1"])), url)

    assert at_intake is None
    assert refusal.address == "127.0.0.1"
    assert receiver.connections == 0


async def test_a_name_that_changes_between_two_callbacks_is_judged_again() -> None:
    resolver = Answers(["127.0.0.1"], ["169.254.169.254"])
    connector = gated_connector(DEVELOPMENT, resolver=resolver)
    async with receiving() as receiver, ClientSession(connector=connector) as session:
        url = f"http://hooks.example:{receiver.port}/"
        async with session.post(url) as first:
            status = first.status
        with pytest.raises(ClientConnectorDNSError) as failed:
            await session.post(url)

    assert status == 204
    assert resolver.lookups == 2
    assert isinstance(refusal_in(failed.value), AddressRefused)
    assert receiver.connections == 1


async def test_the_connection_goes_to_the_judged_answer_without_a_second_lookup() -> None:
    resolver = Answers(["127.0.0.1"], ["169.254.169.254"])
    async with receiving() as receiver:
        await post(gated_connector(DEVELOPMENT, resolver=resolver), f"http://hooks.example:{receiver.port}/")

    assert resolver.lookups == 1
    assert receiver.connections == 1


async def test_a_redirect_to_a_forbidden_address_would_be_refused() -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 307 T\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(redirect, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        refusal = await refused(gated_connector(DEVELOPMENT), f"http://127.0.0.1:{port}/")

    assert refusal.address == "169.254.169.254"


async def test_our_own_listener_is_refused() -> None:
    async with receiving() as receiver:
        rules = AddressRules(allow_loopback=True, allow_plain_http=True, own_port=receiver.port)
        by_address = await refused(gated_connector(rules), f"http://127.0.0.1:{receiver.port}/")
        by_name = await refused(
            gated_connector(rules, resolver=Answers(["127.0.0.1"])), f"http://hooks.example:{receiver.port}/"
        )

    assert by_address.reason == f"127.0.0.1 port {receiver.port} is this server itself"
    assert by_name.reason == by_address.reason
    assert receiver.connections == 0


def private_address_of_this_machine() -> str | None:
    """One that allow_nets can open; machines and containers mostly have one. Nothing is sent to the targets."""
    for family, target in ((socket.AF_INET, "10.255.255.254"), (socket.AF_INET6, "fd00::ffff")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.connect((target, 9))
            address = str(probe.getsockname()[0])
            if refuse_address(address, 443, opening(address)) is None:
                return address
    return None


def opening(address: str, own_port: int | None = None) -> AddressRules:
    nets = (ip_network(address),)
    return AddressRules(allow_loopback=False, allow_plain_http=True, allow_nets=nets, own_port=own_port)


async def test_our_own_listener_is_refused_at_a_private_address_of_this_machine() -> None:
    address = private_address_of_this_machine()
    if address is None:
        pytest.skip("this machine has no private address of its own")
    async with receiving(address) as receiver:
        url = f"http://{f'[{address}]' if ':' in address else address}:{receiver.port}/"
        as_another = await post(gated_connector(opening(address, receiver.port + 1)), url)
        as_our_own = await refused(gated_connector(opening(address, receiver.port)), url)

    assert as_another == 204
    assert as_our_own.reason == f"{address} port {receiver.port} is this server itself"
    assert receiver.connections == 1


def test_a_machine_knows_its_own_addresses() -> None:
    assert is_local_address("127.0.0.1")
    assert is_local_address("::ffff:127.0.0.1")
    assert not is_local_address("1.1.1.1")
    assert not is_local_address("2606:4700:4700::1111")


async def test_a_name_without_an_address_is_a_network_error_and_no_refusal() -> None:
    with pytest.raises(ClientConnectorDNSError) as failed:
        await post(gated_connector(DEVELOPMENT, resolver=Answers([])), "http://hooks.example/")

    assert refusal_in(failed.value) is None


async def test_a_closed_port_is_a_network_error_and_no_refusal() -> None:
    async with receiving() as receiver:
        pass
    with pytest.raises(ClientConnectorError) as failed:
        await post(gated_connector(DEVELOPMENT), f"http://127.0.0.1:{receiver.port}/")

    assert refusal_in(failed.value) is None


async def test_closing_the_gate_closes_the_resolver_behind_it() -> None:
    resolver = Answers(["127.0.0.1"])
    await GatedResolver(DEVELOPMENT, resolver).close()

    assert resolver.is_closed


def test_a_refusal_tells_its_facts_in_one_sentence() -> None:
    refusal = AddressRefused(host="hooks.example", address="10.0.0.1", reason="10.0.0.1 is a private address")

    assert str(refusal) == "Refused to connect to hooks.example at 10.0.0.1: 10.0.0.1 is a private address."
    assert (refusal.host, refusal.address) == ("hooks.example", "10.0.0.1")
    assert refusal_in(refusal) is refusal


async def test_the_error_of_the_client_repeats_the_sentence_of_the_refusal() -> None:
    with pytest.raises(ClientConnectorError) as failed:
        await post(gated_connector(PRODUCTION), "http://10.0.0.1/")

    assert "10.0.0.1 is a private address (RFC 1918)" in str(failed.value)

"""The connect gate: no connection is opened to an address that the rules refuse.

OSError
`-- AddressRefused
"""

import asyncio
import contextlib
import socket
import ssl
from ipaddress import ip_address

from aiohttp import AddrInfoType, SocketFactoryType, TCPConnector, ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from handoff.delivery.answers import BoundedConnector
from handoff.domain.address_policy import AddressRules, refuse_address

_RESOLVE_S = 3.0
_ANY_PORT = 9  # connecting a datagram socket sends nothing, so the number is never seen (RFC 863: discard)


class AddressRefused(OSError):  # noqa: N818 (a refusal of our own policy, not a failure of the network)
    """Refused to connect to {host} at {address}: {reason}."""

    def __init__(self, *, host: str, address: str, reason: str) -> None:
        pattern = type(self).__doc__ or "{reason}"
        message = pattern.format(host=host, address=address, reason=reason)
        super().__init__(message)
        # aiohttp shows the strerror of what it wraps; without a number, str() still gives the plain message.
        self.strerror = message
        self.host = host
        self.address = address
        self.reason = reason


class GatedResolver(AbstractResolver):
    """Answers what the inner resolver answers, unless any one address of the answer is refused.

    One bad address condemns the name: a mix of public and forbidden addresses is how rebinding looks.
    """

    def __init__(self, rules: AddressRules, inner: AbstractResolver) -> None:
        self._rules = rules
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Addresses of a name. Raises AddressRefused, or OSError when there is none."""
        try:
            async with asyncio.timeout(_RESOLVE_S):
                answers = await self._inner.resolve(host, port, family)
        except TimeoutError:  # which aiohttp would take for that of the connection
            raise OSError(None, f"{host} was not answered for within {_RESOLVE_S:g} s") from None
        if not answers:
            # aiohttp asserts that it has an address to try, and would raise AssertionError.
            raise OSError(None, f"{host} has no address")
        for answer in answers:
            _gate(host, answer["host"], port, self._rules)
        return answers

    async def close(self) -> None:
        """Close the inner resolver."""
        await self._inner.close()


def gated_socket_factory(rules: AddressRules) -> SocketFactoryType:
    """A maker of sockets that raises AddressRefused for the very address the socket is about to connect to.

    aiohttp never asks a resolver about a literal address in a URL; only this gate sees those.
    """

    def open_socket(addr_info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, (address, port, *_) = addr_info
        _gate(address, address, port, rules)
        return socket.socket(family, kind, protocol)

    return open_socket


def gated_connector(
    rules: AddressRules,
    *,
    resolver: AbstractResolver | None = None,
    ssl_context: ssl.SSLContext | None = None,
    limit: int = 100,
    limit_per_host: int = 0,
    keepalive_timeout: float = 4.0,
    use_dns_cache: bool = False,
) -> TCPConnector:
    """A connector for one aiohttp session whose every new connection passes `rules`; needs a running event loop.

    `limit` counts open connections in all, `limit_per_host` those of one origin (0: no bound), `keepalive_timeout`
    is in seconds (common servers close at 5). Without an `ssl_context`, aiohttp's own verifies certificates. A
    resolver given here is the caller's to close; the default one, which asks the system from threads, needs none.
    There is no DNS cache by default: kept-alive connections save most lookups, and each new one sees a moved receiver
    at once. A proxy would connect in our place, so a session over this connector must have none (no `trust_env`).
    """
    return BoundedConnector(
        resolver=GatedResolver(rules, resolver or ThreadedResolver()),
        socket_factory=gated_socket_factory(rules),
        ssl=ssl_context or True,
        limit=limit,
        limit_per_host=limit_per_host,
        keepalive_timeout=keepalive_timeout,
        use_dns_cache=use_dns_cache,
    )


def refusal_in(error: BaseException) -> AddressRefused | None:
    """The refusal behind an error of aiohttp (it raises ClientConnectorError from ours), or None."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, AddressRefused):
        cause = cause.__cause__
    return cause


def _gate(host: str, address: str, port: int, rules: AddressRules) -> None:
    reason = refuse_address(address, port, rules)
    if reason is None and port == rules.own_port and is_local_address(address):
        reason = f"{address} port {port} is this server itself"
    if reason is not None:
        raise AddressRefused(host=host, address=address, reason=reason)


def is_local_address(address: str) -> bool:
    """Whether this literal IP address belongs to this machine, by the route the system would take; sends nothing.

    A server that listens on every address also listens on that one. Raises OSError when no socket can be made.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect((address, _ANY_PORT))
        return bool(ip_address(probe.getsockname()[0]) == ip_address(address))
    return False  # no route: neither ours nor anyone's

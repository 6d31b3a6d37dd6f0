"""Which addresses and URLs a callback may go to.

Two gates use these rules: `refuse_url` when a transfer is asked for (no DNS), and `refuse_address` on the very
address a connection is about to be made to, which has the last word.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
OpenedBy = Literal["nothing", "allow_loopback", "allow_nets"]


class Block(NamedTuple):
    """One row of the table: a network, what it is, who says so, and the setting that opens it."""

    net: Network
    name: str
    source: str
    opened_by: OpenedBy


def _rows(opened_by: OpenedBy, *rows: tuple[str, str, str]) -> tuple[Block, ...]:
    return tuple(Block(ip_network(net), name, source, opened_by) for net, name, source in rows)


# The first row that holds an address decides, so the exceptions stand above the ranges around them. The table is
# the union of the IANA IPv4 and IPv6 Special-Purpose Address Registries (also the rows they call globally
# reachable: anycast services, no webhook receiver), multicast, and the metadata services of the clouds.
_TABLE = (
    *_rows(
        "nothing",
        ("168.63.129.16/32", "a cloud metadata address", "Azure"),
        ("100.100.100.200/32", "a cloud metadata address", "Alibaba Cloud"),
        ("fd00:ec2::/32", "a cloud metadata address", "AWS"),
        ("fd20:ce::254/128", "a cloud metadata address", "Google Cloud"),
        ("fd00:c1::a9fe:a9fe/128", "a cloud metadata address", "Oracle Cloud"),
        ("fd00:42::42/128", "a cloud metadata address", "Scaleway"),
        ("fd00:a9fe:a9fe::1/128", "a cloud metadata address", "Linode"),
        ("fd00:100::100:200/128", "a cloud metadata address", "Alibaba Cloud"),
    ),
    *_rows(
        "allow_loopback",
        ("127.0.0.0/8", "a loopback address", "RFC 1122"),
        ("::1/128", "a loopback address", "RFC 4291"),
    ),
    *_rows(
        "allow_nets",
        ("10.0.0.0/8", "a private address", "RFC 1918"),
        ("172.16.0.0/12", "a private address", "RFC 1918"),
        ("192.168.0.0/16", "a private address", "RFC 1918"),
        ("100.64.0.0/10", "a carrier-grade NAT address", "RFC 6598"),
        ("fc00::/7", "a unique-local address", "RFC 4193"),
    ),
    *_rows(
        "nothing",
        ("0.0.0.0/8", "an address of this host", "RFC 791"),
        ("169.254.0.0/16", "a link-local address", "RFC 3927"),
        ("192.0.0.0/24", "an IETF protocol address", "RFC 6890"),
        ("192.0.2.0/24", "a documentation address", "RFC 5737"),
        ("192.31.196.0/24", "an AS112 address", "RFC 7535"),
        ("192.52.193.0/24", "an AMT relay address", "RFC 7450"),
        ("192.88.99.0/24", "a 6to4 relay address", "RFC 7526"),
        ("192.175.48.0/24", "an AS112 address", "RFC 7534"),
        ("198.18.0.0/15", "a benchmarking address", "RFC 2544"),
        ("198.51.100.0/24", "a documentation address", "RFC 5737"),
        ("203.0.113.0/24", "a documentation address", "RFC 5737"),
        ("224.0.0.0/4", "a multicast address", "RFC 5771"),
        ("255.255.255.255/32", "the broadcast address", "RFC 919"),
        ("240.0.0.0/4", "a reserved address", "RFC 1112"),
        ("::/128", "the unspecified address", "RFC 4291"),
        ("::/96", "an IPv4-compatible address", "RFC 4291"),
        ("64:ff9b::/96", "a NAT64 address", "RFC 6052"),
        ("64:ff9b:1::/48", "a NAT64 address", "RFC 8215"),
        ("100::/64", "a discard-only address", "RFC 6666"),
        ("100:0:0:1::/64", "a dummy address", "RFC 9780"),
        ("2001::/32", "a Teredo address", "RFC 4380"),
        ("2001::/23", "an IETF protocol address", "RFC 2928"),
        ("2001:db8::/32", "a documentation address", "RFC 3849"),
        ("2002::/16", "a 6to4 address", "RFC 3056"),
        ("2620:4f:8000::/48", "an AS112 address", "RFC 7534"),
        ("3fff::/20", "a documentation address", "RFC 9637"),
        ("5f00::/16", "a segment routing address", "RFC 9602"),
        ("fe80::/10", "a link-local address", "RFC 4291"),
        ("fec0::/10", "a site-local address", "RFC 3879"),
        ("ff00::/8", "a multicast address", "RFC 4291"),
        # What these three leave over is 2000::/3, all of the global unicast space that is given out.
        ("::/3", "outside the global unicast range 2000::/3", "RFC 4291"),
        ("4000::/2", "outside the global unicast range 2000::/3", "RFC 4291"),
        ("8000::/1", "outside the global unicast range 2000::/3", "RFC 4291"),
    ),
)
# First and last address as numbers: ten times as fast as asking each network, and every connection asks.
_RANGES = {
    version: tuple((int(row.net[0]), int(row.net[-1]), row) for row in _TABLE if row.net.version == version)
    for version in (4, 6)
}

# Transition forms that keep an IPv4 address in their low 32 bits.
_CARRIES_IN_LOW_BITS = (ip_network("::/96"), ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_ISATAP_MARK = 0x0000_5EFE  # RFC 5214, section 6.1: the upper half of the interface identifier
_ISATAP_MASK = 0xFCFF_FFFF  # all of it but the universal and group bits, which vary

MAX_URL_CHARS = 2048  # longer ones break receivers and logs; the usual limit of browsers and proxies
MAX_HOST_CHARS = 253  # RFC 1035, as written with dots
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_PORT = 65_535

_PRINTABLE = re.compile(r"[!-\[\]-~]+")  # ASCII 0x21 to 0x7e but the backslash, which clients read as a slash
_AUTHORITY = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]|(?P<plain>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
# A last label of digits or of a hex number: inet_aton and the URL standard of browsers read such a host as IPv4.
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


_NO_HOST_AND_PORT = "callbackUrl: write the host as a plain name or address, and the port as a number"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRules:
    """What an operator allows beyond public addresses over https.

    `allow_nets` opens private, carrier-grade NAT and unique-local ranges only. `allow_hosts`, when not empty, lists
    every host there may be: a lower-case name, a literal address in its shortest form, or `.example.com` (also
    written `*.example.com`) for all names below example.com. `own_port` is the TCP port this server listens on.
    """

    allow_loopback: bool
    allow_plain_http: bool
    allow_nets: tuple[Network, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    own_port: int | None = None


def refuse_address(address: str, port: int, rules: AddressRules) -> str | None:
    """Why a connection to this literal IP address and TCP port is refused; None when it is allowed.

    Mapped IPv4 (`::ffff:a.b.c.d`) is judged as IPv4. An address that carries another one (NAT64, 6to4, Teredo,
    ISATAP, IPv4-compatible) is allowed only when both are. Anything that is not an address is refused.
    """
    if "%" in address:
        return f"{address} is a scoped address"
    try:
        ip = ip_address(address)
    except ValueError:
        return f"{address!r} is not an IP address"
    ip = _unmapped(ip)
    return _refuse_carried(ip, port, rules) or _refuse_ip(ip, port, rules)


def _unmapped(ip: Address) -> Address:
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def _refuse_carried(ip: Address, port: int, rules: AddressRules) -> str | None:
    for inner in _carried(ip):
        reason = _refuse_ip(inner, port, rules)
        if reason is not None:
            return f"{ip} carries an IPv4 address: {reason}"
    return None


def _carried(ip: Address) -> tuple[IPv4Address, ...]:
    if isinstance(ip, IPv4Address) or int(ip) <= 1:  # :: and ::1 carry nothing
        return ()
    if ip.sixtofour is not None:
        return (ip.sixtofour,)
    if ip.teredo is not None:
        return ip.teredo
    is_isatap = int(ip) >> 32 & _ISATAP_MASK == _ISATAP_MARK
    if is_isatap or any(ip in net for net in _CARRIES_IN_LOW_BITS):
        return (IPv4Address(int(ip) & 0xFFFF_FFFF),)
    return ()


def _refuse_ip(ip: Address, port: int, rules: AddressRules) -> str | None:
    number = int(ip)
    block = next((block for first, last, block in _RANGES[ip.version] if first <= number <= last), None)
    if block is None:
        return None
    if block.opened_by == "allow_loopback" and rules.allow_loopback:
        return f"{ip} port {port} is this server itself" if port == rules.own_port else None
    if block.opened_by == "allow_nets" and any(ip in net for net in rules.allow_nets):
        return None
    return f"{ip} is {block.name} ({block.source})"


def refuse_url(url: str, rules: AddressRules) -> str | None:
    """Why this callback URL is refused, as one sentence that says what to do; None when it is allowed.

    Asks no DNS: a name that passes may still answer with a forbidden address, which the connection then refuses.
    The grammar is narrower than RFC 3986, so that no client can read another host or port out of the same text.
    """
    if len(url) > MAX_URL_CHARS:
        return f"callbackUrl: use at most {MAX_URL_CHARS} characters"
    if not _PRINTABLE.fullmatch(url):
        return "callbackUrl: use printable ASCII without spaces and backslashes"
    if "#" in url:
        return "callbackUrl: leave out the fragment"
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets out of place: some versions of Python find them here, others leave them to us
        return _NO_HOST_AND_PORT
    return _refuse_scheme(parts.scheme, rules) or _refuse_authority(parts, rules)


def _refuse_scheme(scheme: str, rules: AddressRules) -> str | None:
    if scheme not in _DEFAULT_PORTS:
        return "callbackUrl: use an absolute http or https URL"
    if scheme == "http" and not rules.allow_plain_http:
        return "callbackUrl: use https; plain http is refused by this server's policy"
    return None


def _refuse_authority(parts: SplitResult, rules: AddressRules) -> str | None:
    if not parts.netloc:
        return "callbackUrl: name a host after //"
    if "@" in parts.netloc:
        return "callbackUrl: leave out the user name and password"
    origin = _origin(parts)
    if origin is None:
        return _NO_HOST_AND_PORT
    host, port = origin
    if not 1 <= port <= _MAX_PORT:
        return f"callbackUrl: use a port from 1 to {_MAX_PORT}"
    return _refuse_host(host, port, rules) or _refuse_unlisted(host, rules)


def _origin(parts: SplitResult) -> tuple[str, int] | None:
    """Host in lower case, without brackets, and port; None when the text between // and / is anything else."""
    match = _AUTHORITY.fullmatch(parts.netloc)
    if match is None:
        return None
    host = match["bracketed"] or match["plain"]
    return host.lower(), int(match["port"] or _DEFAULT_PORTS.get(parts.scheme, 0))


def _refuse_host(host: str, port: int, rules: AddressRules) -> str | None:
    if ":" in host or _IPV4.fullmatch(host):
        reason = refuse_address(host, port, rules)
        return reason and f"callbackUrl: {reason}"
    if _NUMERIC.fullmatch(host):
        return "callbackUrl: write an IPv4 address as four decimal numbers without leading zeros"
    if len(host) > MAX_HOST_CHARS or not _NAME.fullmatch(host):
        return "callbackUrl: write the host as letters, digits and hyphens between single dots"
    if host == "localhost" or host.endswith(".localhost"):
        return _refuse_localhost(host, port, rules)
    return None


def _refuse_localhost(host: str, port: int, rules: AddressRules) -> str | None:
    # RFC 6761, section 6.3: every name below localhost is loopback, whatever a resolver says.
    if not rules.allow_loopback:
        return f"callbackUrl: use a public host; {host} is a loopback name"
    if port == rules.own_port:
        return f"callbackUrl: use another receiver; {host} port {port} is this server itself"
    return None


def _refuse_unlisted(host: str, rules: AddressRules) -> str | None:
    if not rules.allow_hosts or any(_lists(entry, host) for entry in rules.allow_hosts):
        return None
    return f"callbackUrl: use a host on this server's list of allowed hosts; {host} is not on it"


def _lists(entry: str, host: str) -> bool:
    if not entry.startswith((".", "*.")):
        return entry == _shown(host)
    # A pattern speaks of names: without the second half, *.0.1 would list 127.0.0.1.
    return host.endswith(entry.removeprefix("*")) and not _NUMERIC.fullmatch(host)


def _shown(host: str) -> str:
    return str(IPv6Address(host)) if ":" in host else host


def lane_of(url: str) -> str:
    """The lane of a URL that passed `refuse_url`: `scheme://host:port`, lower case, IPv6 in brackets.

    Raises ValueError for a URL without a plain host and port.
    """
    parts = urlsplit(url)
    origin = _origin(parts)
    if origin is None:
        raise ValueError("this URL has not passed refuse_url")
    host, port = origin
    return f"{parts.scheme}://[{_shown(host)}]:{port}" if ":" in host else f"{parts.scheme}://{host}:{port}"

import random
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
import ssrfguard
from AntiSSRF import AntiSSRFPolicy, IPAddressRanges, PolicyConfigOptions  # type: ignore[import-untyped]
from yarl import URL

from handoff.domain.address_policy import AddressRules, lane_of, refuse_address, refuse_url

SEED = 20_260_801
ROUNDS = 21_000  # four addresses each, some of them alike
URLS = 10_000
PRODUCTION = AddressRules(allow_loopback=False, allow_plain_http=False)
DEVELOPMENT = AddressRules(allow_loopback=True, allow_plain_http=True)
GUARD = ssrfguard.Policy(allowed_schemes=frozenset({"http", "https"}), allowed_ports=frozenset(range(1, 65_536)))
MICROSOFT = AntiSSRFPolicy(PolicyConfigOptions.EXTERNAL_ONLY_LATEST)

V4_FORMS: tuple[Callable[[int], int], ...] = (
    lambda v4: 0xFFFF << 32 | v4,  # mapped
    lambda v4: v4,  # IPv4-compatible
    lambda v4: 0xFFFF << 48 | v4,  # IPv4-translated
    lambda v4: 0x64_FF9B << 96 | v4,  # NAT64
    lambda v4: 0x64_FF9B_0001 << 80 | v4,  # local NAT64
    lambda v4: 0x2002 << 112 | v4 << 80 | 1,  # 6to4
    lambda v4: 0x2001 << 112 | v4 << 64 | 0xF7F7_F7F7,  # Teredo server
    lambda v4: 0x2001 << 112 | 0x0808_0808 << 64 | v4 ^ 0xFFFF_FFFF,  # Teredo client
    lambda v4: 0x2A00_1450 << 96 | 0x5EFE << 32 | v4,  # ISATAP
    lambda v4: 0x2A00_1450 << 96 | 0x200_5EFE << 32 | v4,  # ISATAP, universal
)


def is_allowed_by_microsoft(address: str) -> bool:
    # Its public door needs a whole requests session; this is the check behind it.
    return bool(MICROSOFT._is_str_ip_address_connection_allowed(address))  # noqa: SLF001


def edges() -> Iterator[tuple[int, int]]:
    """(IP version, number) around the first and last address of every network of both oracles."""
    nets = [block.network for block in ssrfguard.DEFAULT_DENIED.blocks]
    nets += [ip_network(net) for net in IPAddressRanges.recommended_latest]
    for net in nets:
        for edge in (int(net[0]), int(net[-1])):
            for number in (edge - 1, edge, edge + 1):
                yield net.version, number % 2**net.max_prefixlen


def addresses(count: int) -> Iterator[str]:
    chance = random.Random(SEED)
    v4_edges = [number for version, number in edges() if version == 4]
    v6_edges = [number for version, number in edges() if version == 6]
    yield from (str(IPv4Address(number)) for number in v4_edges)
    yield from (str(IPv6Address(number)) for number in v6_edges)
    yield from (str(IPv6Address(form(number))) for number in v4_edges for form in V4_FORMS)
    for _ in range(count):
        v4 = chance.choice((chance.getrandbits(32), chance.choice(v4_edges)))
        v6 = chance.choice(v6_edges) ^ chance.getrandbits(chance.choice((8, 64, 96)))
        yield str(IPv4Address(v4))
        yield str(IPv6Address(chance.choice(V4_FORMS)(v4)))
        yield str(IPv6Address(v6))
        yield str(IPv6Address(0b001 << 125 | chance.getrandbits(125)))


@pytest.fixture(scope="module")
def tried() -> tuple[str, ...]:
    return tuple(dict.fromkeys(addresses(ROUNDS)))


@pytest.fixture(scope="module")
def allowed(tried: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(address for address in tried if refuse_address(address, 443, PRODUCTION) is None)


def test_the_addresses_are_many_and_of_both_kinds(tried: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    assert len(tried) > 60_000
    assert len(tried) - len(allowed) > 20_000
    assert sum(":" in address for address in allowed) > 9_000
    assert sum(":" not in address for address in allowed) > 9_000


@pytest.mark.parametrize("oracle", [GUARD.permits_address, is_allowed_by_microsoft], ids=["ssrfguard", "microsoft"])
def test_production_allows_no_address_that_the_oracle_refuses(
    oracle: Callable[[str], bool], allowed: tuple[str, ...]
) -> None:
    assert [address for address in allowed if not oracle(address)] == []


@pytest.mark.parametrize("oracle", [GUARD.permits_address, is_allowed_by_microsoft], ids=["ssrfguard", "microsoft"])
def test_development_is_looser_than_the_oracle_by_loopback_only(
    oracle: Callable[[str], bool], tried: tuple[str, ...]
) -> None:
    looser = {a for a in tried if refuse_address(a, 443, DEVELOPMENT) is None and not oracle(a)}
    unmapped = {str(IPv6Address(a).ipv4_mapped or a) if ":" in a else a for a in looser}

    assert {a for a in unmapped if not a.startswith("127.")} == {"::1"}
    assert "127.0.0.1" in unmapped


def test_only_ipv6_is_judged_harder_than_by_both_oracles(tried: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    refused = set(tried) - set(allowed)
    harder = {a for a in refused if GUARD.permits_address(a) and is_allowed_by_microsoft(a)}

    assert all(":" in address for address in harder)
    # The rest lies outside the global unicast range, or is ISATAP around a forbidden address.
    assert not [a for a in harder if IPv6Address(a) in ip_network("2000::/3") and "5efe" not in a]


METADATA_HOSTS = (
    *("169.254.169.254", "2852039166", "0xa9fea9fe", "0xA9FEA9FE", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376"),
    *("025177524776", "169.254.43518", "169.16689662", "0xa9.254.0251.254", "169.254.169.254.", "0169.254.169.254"),
    *("169.254.169.0xfe", "00000169.254.169.254", "169%2e254%2e169%2e254", "%31%36%39.254.169.254"),
    *("\u0661\u0666\u0669.254.169.254", "\uff11\uff16\uff19.254.169.254", "169\u3002254\u3002169\u3002254"),
    *("\u2460\u2465\u2468.254.169.254", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::169.254.169.254]"),
    *("[0:0:0:0:0:ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a9fe:a9fe]", "[2002:a9fe:a9fe::]"),
    *("[2001:0:a9fe:a9fe::]", "[2001:0:808:808::5601:5601]", "[2a00:1450::5efe:a9fe:a9fe]", "[169.254.169.254]"),
    *("[::ffff:0:a9fe:a9fe]", "[::ffff:a9fe:a9fe%25eth0]", "[fe80::a9fe:a9fe]", "[fd00:ec2::254]"),
    *("user@169.254.169.254", "example.com@169.254.169.254", "169.254.169.254\\@example.com"),
    *(
        "169.254.169.254 ",
        " 169.254.169.254",
        "169.254.169.254\t",
        "169.254.\n169.254",
        "169.254.169.254\x00.example.com",
    ),
)
LOOPBACK_HOSTS = (
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0x0.0x0.0x1", "0177.0.0.1"),
    *("017700000001", "127.0.0.01", "127.0.0.1.", "127.000.000.001", "0127.0.0.1", "127.0x0.1", "127.255.255.254"),
    *("0", "0.0.0.0", "0x0", "00", "0.0", "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::0001]", "[::ffff:127.0.0.1]"),
    *("[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]"),
    *(
        "[2a00:1450::200:5efe:7f00:1]",
        "[::1%25lo]",
        "[127.0.0.1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.b.localhost",
    ),
    *(
        "127%2e0%2e0%2e1",
        "%6cocalhost",
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021",
        "\u24db\u24de\u24d2alhost",
    ),
    *("user@127.0.0.1", "127.0.0.1\\.example.com", "[::1].example.com", "example.com[::1]", "[::1]@example.com"),
)


def test_the_spellings_of_each_address_are_many() -> None:
    assert min(len(set(METADATA_HOSTS)), len(set(LOOPBACK_HOSTS))) > 40


@pytest.mark.parametrize("host", METADATA_HOSTS + LOOPBACK_HOSTS)
@pytest.mark.parametrize("url", ["https://%s/", "https://%s:8443/latest", "HTTPS://%s?a=b"])
def test_no_spelling_of_a_metadata_or_loopback_address_passes(host: str, url: str) -> None:
    assert refuse_url(url % host, PRODUCTION) is not None


def urls(count: int) -> Iterator[str]:
    chance = random.Random(SEED)
    bad = METADATA_HOSTS + LOOPBACK_HOSTS
    good = ("example.com", "a-b.example", "X.y.z.example", "8.8.8.8", "[2606:4700::1]", "[2606:4700:0:0:0:0:0:AB]")
    for _ in range(count):
        host = chance.choice(chance.choice((bad, good)))
        if chance.random() < 0.5:
            at = chance.randrange(len(host) + 1)
            host = host[:at] + chance.choice((*".0x1-:%[]@a", "")) + host[at + 1 :]
        scheme = chance.choice(("http", "https", "https", "HTTPS", "ftp", "https:", ""))
        port = chance.choice(("", "", ":443", ":8443", ":0443", ":", ":0", ":99999", ":443x"))
        tail = chance.choice(("", "/", "/a?b=c", "?b", "//evil.example", "/@10.0.0.1", ":80", "/\\", "/%0a", ";a"))
        yield f"{scheme}://{host}{port}{tail}"


@pytest.mark.parametrize("rules", [PRODUCTION, DEVELOPMENT], ids=["production", "development"])
def test_an_allowed_url_has_the_same_host_and_port_for_the_client(rules: AddressRules) -> None:
    passed = [url for url in dict.fromkeys(urls(URLS)) if refuse_url(url, rules) is None]
    read_by_client = [URL(url) for url in passed]

    assert len(passed) > 300
    assert [lane_of(url) for url in passed] == [
        f"{url.scheme}://{url.host_subcomponent}:{url.port}" for url in read_by_client
    ]


def test_production_allows_no_url_that_ssrfguard_refuses() -> None:
    passed = [url for url in dict.fromkeys(urls(URLS)) if refuse_url(url, PRODUCTION) is None]

    assert len(passed) > 300
    for url in passed:
        GUARD.check_url(url)

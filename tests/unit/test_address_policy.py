from ipaddress import ip_network

import pytest

from handoff.domain.address_policy import AddressRules, lane_of, refuse_address, refuse_url

PRODUCTION = AddressRules(allow_loopback=False, allow_plain_http=False)
DEVELOPMENT = AddressRules(allow_loopback=True, allow_plain_http=True, own_port=8000)
EVERY_NET_OPEN = AddressRules(
    allow_loopback=False,
    allow_plain_http=True,
    allow_nets=(ip_network("0.0.0.0/0"), ip_network("::/0")),
)

METADATA = (
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "fd00:42::42",
    "fd00:a9fe:a9fe::1",
    "fd00:100::100:200",
    "fe80::a9fe:a9fe",
)
NEVER_PUBLIC = (
    *("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "10.0.0.1", "172.16.0.1", "172.31.255.255"),
    *("192.168.1.1", "100.64.0.1", "100.127.255.255", "169.254.0.1", "192.0.0.9", "192.0.2.1", "192.31.196.1"),
    *("192.52.193.1", "192.88.99.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::2", "100::1", "100:0:0:1::1", "2001:1::1", "2001:2::1", "2001:20::1", "2001:db8::1"),
    *("2620:4f:8000::1", "3fff::1", "5f00::1", "fc00::1", "fdff::1", "fe80::1", "fec0::1", "ff02::1"),
    *("1000::1", "4000::1", "8000::1", "e000::1"),
)
PUBLIC = (
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255"),
    *("172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0"),
    *("223.255.255.255", "2606:4700:4700::1111", "2001:200::1", "2001:4860:4860::8888", "2a00:1450::1"),
    *("2003::1", "2620:4f:8001::1", "3ffe::1", "::ffff:8.8.8.8", "2a00:1450::5efe:808:808"),
)
# Every form that ends at an IPv4 address, with %s for its 32 bits in hex.
TRANSITION_FORMS = {
    "mapped": "::ffff:%s",
    "IPv4-compatible": "::%s",
    "IPv4-translated": "::ffff:0:%s",
    "NAT64": "64:ff9b::%s",
    "local NAT64": "64:ff9b:1::%s",
    "6to4": "2002:%s::1",
    "Teredo server": "2001:0:%s::f7f7:f7f7",
    "ISATAP": "2a00:1450::5efe:%s",
    "ISATAP, universal": "2a00:1450::200:5efe:%s",
    "ISATAP, group": "2a00:1450::300:5efe:%s",
}


@pytest.mark.parametrize("address", NEVER_PUBLIC + METADATA)
def test_an_address_of_no_public_host_is_refused_in_production(address: str) -> None:
    reason = refuse_address(address, 443, PRODUCTION)

    assert reason is not None
    assert reason.startswith(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert refuse_address(address, 443, PRODUCTION) is None


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("169.254.169.254", "169.254.169.254 is a link-local address (RFC 3927)"),
        ("::ffff:10.1.2.3", "10.1.2.3 is a private address (RFC 1918)"),
        ("168.63.129.16", "168.63.129.16 is a cloud metadata address (Azure)"),
        ("::", ":: is the unspecified address (RFC 4291)"),
        ("2001:3::1", "2001:3::1 is an IETF protocol address (RFC 2928)"),
        ("4000::1", "4000::1 is outside the global unicast range 2000::/3 (RFC 4291)"),
        ("2002:7f00:1::", "2002:7f00:1:: carries an IPv4 address: 127.0.0.1 is a loopback address (RFC 1122)"),
        ("2001:0:808:808::80ff:fffe", "2001:0:808:808::80ff:fffe carries an IPv4 address: 127.0.0.1 is a loopback "),
        ("64:ff9b::808:808", "64:ff9b::808:808 is a NAT64 address (RFC 6052)"),
        ("fe80::1%eth0", "fe80::1%eth0 is a scoped address"),
        ("example.com", "'example.com' is not an IP address"),
    ],
)
def test_the_reason_names_the_address_its_kind_and_the_source(address: str, reason: str) -> None:
    assert (refuse_address(address, 443, PRODUCTION) or "").startswith(reason)


@pytest.mark.parametrize("form", TRANSITION_FORMS.values(), ids=TRANSITION_FORMS)
@pytest.mark.parametrize("inside", ["7f00:1", "a00:1", "a9fe:a9fe", "6440:1", "e000:1", "0:0", "a83f:8110"])
def test_a_forbidden_address_inside_another_is_refused(form: str, inside: str) -> None:
    assert refuse_address(form % inside, 443, PRODUCTION) is not None


@pytest.mark.parametrize("form", ["64:ff9b::%s", "64:ff9b:1::%s", "2002:%s::1", "2001:0:%s::f7f7:f7f7", "::%s"])
def test_a_transition_address_is_refused_even_around_a_public_one(form: str) -> None:
    assert refuse_address(form % "808:808", 443, PRODUCTION) is not None


@pytest.mark.parametrize("form", ["64:ff9b::%s", "2002:%s::1", "::%s", "2001:0:%s::f7f7:f7f7", "fe80::5efe:%s"])
@pytest.mark.parametrize("inside", ["7f00:1", "a00:1"])
def test_no_setting_opens_a_transition_address(form: str, inside: str) -> None:
    rules = AddressRules(allow_loopback=True, allow_plain_http=True, allow_nets=EVERY_NET_OPEN.allow_nets)

    assert refuse_address(form % inside, 443, rules) is not None


@pytest.mark.parametrize("address", ["2606:4700::200:5efe:7f00:1", "2606:4700::5efe:7f00:1"])
def test_our_own_port_on_loopback_is_refused_inside_another_address_too(address: str) -> None:
    assert refuse_address(address, 8009, DEVELOPMENT) is None
    assert "is this server itself" in (refuse_address(address, 8000, DEVELOPMENT) or "")


@pytest.mark.parametrize(
    "address", ["2606:4700::1%eth0", "8.8.8.8%1", "2606:4700::1%25", "::ffff:8.8.8.8%lo", "8.8.8.8%"]
)
def test_a_scoped_address_is_refused_whatever_it_is(address: str) -> None:
    assert refuse_address(address, 443, EVERY_NET_OPEN) == f"{address} is a scoped address"


@pytest.mark.parametrize(
    "address", ["", "8.8.8.8.", "08.8.8.8", "134744072", "8.8.8", "0x8.8.8.8", "[2606::1]", " 8.8.8.8"]
)
def test_what_is_not_an_address_is_refused(address: str) -> None:
    assert refuse_address(address, 443, EVERY_NET_OPEN) == f"{address!r} is not an IP address"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "0:0:0:0:0:0:0:1"])
def test_loopback_is_allowed_in_development_but_not_on_our_own_port(address: str) -> None:
    assert refuse_address(address, 8009, DEVELOPMENT) is None
    assert "is this server itself" in (refuse_address(address, 8000, DEVELOPMENT) or "")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_no_allowed_net_opens_loopback(address: str) -> None:
    assert "loopback" in (refuse_address(address, 443, EVERY_NET_OPEN) or "")


@pytest.mark.parametrize("address", ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fc00::1", "fd12::1"])
def test_an_allowed_net_opens_a_private_range(address: str) -> None:
    assert refuse_address(address, 443, EVERY_NET_OPEN) is None


@pytest.mark.parametrize(
    "address",
    [*METADATA, *(a for a in NEVER_PUBLIC if not a.startswith(("10.", "172.", "192.168.", "100.", "fc", "fd")))],
)
def test_no_allowed_net_opens_anything_else(address: str) -> None:
    assert refuse_address(address, 443, EVERY_NET_OPEN) is not None


def test_an_allowed_net_opens_no_address_outside_it() -> None:
    rules = AddressRules(allow_loopback=False, allow_plain_http=False, allow_nets=(ip_network("10.1.0.0/16"),))

    assert refuse_address("10.1.255.255", 443, rules) is None
    assert refuse_address("::ffff:10.1.0.0", 443, rules) is None
    assert refuse_address("10.2.0.0", 443, rules) == "10.2.0.0 is a private address (RFC 1918)"


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com/",
        "https://hooks.example.com/a/b;c?d=e&f=%20#"[:-1],
        "HTTPS://HOOKS.EXAMPLE.COM/A",
        "https://hooks.example.com:8443/a",
        "https://hooks.example.com:1/",
        "https://hooks.example.com:65535/",
        "https://my_app.example.com/",
        "https://xn--bcher-kva.example/",
        "https://3com.example/",
        "https://1.2.3.example/",
        "https://single-label/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]:8443/",
        "https://hooks.example.com/next?to=http://user:pw@10.0.0.1/",
        "https://" + "a" * 63 + ".example/",
    ],
)
def test_a_plain_public_url_is_allowed(url: str) -> None:
    assert refuse_url(url, PRODUCTION) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "use printable ASCII without spaces and backslashes"),
        ("https://hooks.example.com/a b", "use printable ASCII without spaces and backslashes"),
        ("https://hooks.example.com/\ta", "use printable ASCII without spaces and backslashes"),
        ("https://hooks.example.com/a\n", "use printable ASCII without spaces and backslashes"),
        ("https://hooks.example.com/\x00", "use printable ASCII without spaces and backslashes"),
        ("https://hooks.example.com/\x7f", "use printable ASCII without spaces and backslashes"),
        ("https://b\u00fccher.example/", "use printable ASCII without spaces and backslashes"),
        ("https://good.example\\@evil.example/", "use printable ASCII without spaces and backslashes"),
        ("https://hooks.example.com/#", "leave out the fragment"),
        ("https://hooks.example.com/#a", "leave out the fragment"),
        ("hooks.example.com/a", "use an absolute http or https URL"),
        ("//hooks.example.com/a", "use an absolute http or https URL"),
        ("ftp://hooks.example.com/a", "use an absolute http or https URL"),
        ("file:///etc/passwd", "use an absolute http or https URL"),
        ("javascript:alert(1)", "use an absolute http or https URL"),
        ("https://[::1/", "write the host as a plain name or address, and the port as a number"),
        ("http://hooks.example.com/", "use https; plain http is refused by this server's policy"),
        ("https:hooks.example.com", "name a host after //"),
        ("https:///hooks.example.com", "name a host after //"),
        ("https://?a=b", "name a host after //"),
        ("https://user@hooks.example.com/", "leave out the user name and password"),
        ("https://user:pw@hooks.example.com/", "leave out the user name and password"),
        ("https://@hooks.example.com/", "leave out the user name and password"),
        ("https://:443/", "write the host as a plain name or address, and the port as a number"),
        ("https://hooks.example.com:/", "write the host as a plain name or address, and the port as a number"),
        ("https://hooks.example.com:+443/", "write the host as a plain name or address, and the port as a number"),
        ("https://hooks.example.com:443:443/", "write the host as a plain name or address, and the port as a number"),
        ("https://[2606:4700::1]x:443/", "write the host as a plain name or address, and the port as a number"),
        ("https://[2606:4700::1%25eth0]/", "write the host as a plain name or address, and the port as a number"),
        ("https://%68ooks.example.com/", "write the host as a plain name or address, and the port as a number"),
        ("https://hooks.example.com:0/", "use a port from 1 to 65535"),
        ("https://hooks.example.com:65536/", "use a port from 1 to 65535"),
        ("https://hooks..example.com/", "write the host as letters, digits and hyphens between single dots"),
        ("https://-hooks.example.com/", "write the host as letters, digits and hyphens between single dots"),
        ("https://hooks-.example.com/", "write the host as letters, digits and hyphens between single dots"),
        ("https://hooks.example.com./", "write the host as letters, digits and hyphens between single dots"),
        ("https://" + "a" * 64 + ".example/", "write the host as letters, digits and hyphens between single dots"),
        ("https://" + "a." * 126 + "aa/", "write the host as letters, digits and hyphens between single dots"),
        ("https://8.8.2056/", "write an IPv4 address as four decimal numbers without leading zeros"),
        ("https://8.8.8.08/", "write an IPv4 address as four decimal numbers without leading zeros"),
        ("https://8.8.8.256/", "write an IPv4 address as four decimal numbers without leading zeros"),
        ("https://hooks.example.0x1/", "write an IPv4 address as four decimal numbers without leading zeros"),
        ("https://10.0.0.1/", "10.0.0.1 is a private address (RFC 1918)"),
        ("https://[fd00::1]/", "fd00::1 is a unique-local address (RFC 4193)"),
        ("https://localhost/", "use a public host; localhost is a loopback name"),
        ("https://A.LocalHost:8443/", "use a public host; a.localhost is a loopback name"),
    ],
)
def test_a_refused_url_is_told_what_to_do(url: str, reason: str) -> None:
    assert refuse_url(url, PRODUCTION) == f"callbackUrl: {reason}"


def test_a_url_may_have_2048_characters_and_no_more() -> None:
    longest = "https://hooks.example.com/".ljust(2048, "a")

    assert refuse_url(longest, PRODUCTION) is None
    assert refuse_url(longest + "a", PRODUCTION) == "callbackUrl: use at most 2048 characters"


def test_a_name_may_have_253_characters_and_no_more() -> None:
    longest = "a." * 126 + "a"

    assert refuse_url(f"https://{longest}/", PRODUCTION) is None
    assert "single dots" in (refuse_url(f"https://{longest}a/", PRODUCTION) or "")


def test_the_documented_sample_is_allowed_in_development() -> None:
    assert refuse_url("http://localhost:8009", DEVELOPMENT) is None
    assert refuse_url("http://agent.localhost:8009/", DEVELOPMENT) is None
    assert refuse_url("http://127.0.0.1:8009/", DEVELOPMENT) is None
    assert refuse_url("http://hooks.example.com/", DEVELOPMENT) is None


@pytest.mark.parametrize(
    "host", ["localhost", "a.localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "[::1]", "[::ffff:7f00:1]"]
)
def test_our_own_listener_is_refused_in_development(host: str) -> None:
    assert "is this server itself" in (refuse_url(f"http://{host}:8000/", DEVELOPMENT) or "")


def test_our_own_port_on_another_host_is_allowed() -> None:
    assert refuse_url("http://hooks.example.com:8000/", DEVELOPMENT) is None


def test_the_default_port_counts_when_it_is_our_own() -> None:
    rules = AddressRules(allow_loopback=True, allow_plain_http=True, own_port=80)

    assert refuse_url("http://localhost/", rules) is not None
    assert refuse_url("https://localhost/", rules) is None


@pytest.mark.parametrize(
    ("url", "is_listed"),
    [
        ("https://hooks.example.com/", True),
        ("https://HOOKS.example.com:8443/", True),
        ("https://a.hooks.example.com/", False),
        ("https://example.com/", False),
        ("https://evilhooks.example.com/", False),
        ("https://a.dotted.example/", True),
        ("https://a.b.dotted.example/", True),
        ("https://dotted.example/", False),
        ("https://evildotted.example/", False),
        ("https://a.starred.example/", True),
        ("https://starred.example/", False),
        ("https://8.8.8.8/", True),
        ("https://8.8.4.4/", False),
        ("https://[2606:4700:0:0::1]/", True),
        ("https://[2606:4700::2]/", False),
        ("https://1.0.4.4/", False),
    ],
)
def test_a_list_of_hosts_refuses_every_other_host(url: str, *, is_listed: bool) -> None:
    rules = AddressRules(
        allow_loopback=False,
        allow_plain_http=False,
        allow_hosts=(
            *("hooks.example.com", ".dotted.example", "*.starred.example"),
            *("8.8.8.8", "2606:4700::1", "*.4.4", "10.0.0.1"),
        ),
    )

    assert (refuse_url(url, rules) is None) is is_listed


def test_a_listed_host_must_still_be_an_allowed_address() -> None:
    rules = AddressRules(allow_loopback=False, allow_plain_http=False, allow_hosts=("10.0.0.1", "localhost"))

    assert refuse_url("https://10.0.0.1/", rules) == "callbackUrl: 10.0.0.1 is a private address (RFC 1918)"
    assert refuse_url("https://localhost/", rules) == "callbackUrl: use a public host; localhost is a loopback name"


@pytest.mark.parametrize(
    ("url", "lane"),
    [
        ("https://hooks.example.com/a?b=c", "https://hooks.example.com:443"),
        ("http://hooks.example.com", "http://hooks.example.com:80"),
        ("HTTPS://Hooks.Example.COM:0443/", "https://hooks.example.com:443"),
        ("http://localhost:8009", "http://localhost:8009"),
        ("https://8.8.8.8:8443/", "https://8.8.8.8:8443"),
        ("https://[2606:4700:0000::AB]/", "https://[2606:4700::ab]:443"),
    ],
)
def test_a_lane_is_the_origin_with_an_explicit_port(url: str, lane: str) -> None:
    assert lane_of(url) == lane


def test_a_url_without_an_origin_has_no_lane() -> None:
    with pytest.raises(ValueError, match=r"^this URL has not passed refuse_url$"):
        lane_of("https://user@hooks.example.com/")

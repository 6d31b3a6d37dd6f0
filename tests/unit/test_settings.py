import os
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import ValidationError

from handoff.domain.rate import Rate
from handoff.domain.rules import Reassign
from handoff.settings import Settings, SettingsError, unknown_variables

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY, OLD_KEY = ("A" * 43 + "=", "_-" * 21 + "8=")


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but the test's own, neither of the environment nor of a file."""
    for name in list(os.environ):
        if name.upper().startswith("HANDOFF_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Any:
    def load(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(f"HANDOFF_{name.upper()}", value)
        return Settings.load()

    return load


@pytest.fixture
def refused(loaded: Any) -> Any:
    """The lines of the refusal of these variables."""

    def lines(**variables: str) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            loaded(**variables)
        return str(caught.value).splitlines()

    return lines


def test_an_empty_environment_gives_settings_for_one_machine() -> None:
    settings = Settings.load()

    assert (settings.database_url, settings.host, settings.port) == ("sqlite:///handoff.db", "127.0.0.1", 8000)
    assert (settings.dispatcher, settings.callback_policy) == ("inline", "development")
    assert Reassign(settings.reassign) is Reassign.EXPECTED


def test_a_variable_is_read_from_the_environment(loaded: Any) -> None:
    settings = loaded(port="8009", reassign="always", grace_seconds="2.5", database_prepare="false")

    assert (settings.port, settings.grace_seconds) == (8009, 2.5)
    assert Reassign(settings.reassign) is Reassign.ALWAYS
    assert settings.database_prepare is False


def test_a_file_named_env_is_read_and_the_environment_goes_before_it(loaded: Any) -> None:
    Path(".env").write_text("HANDOFF_PORT=8010\nHANDOFF_HOST=::1\nSOMEBODY_ELSES=1\n", encoding="utf-8")
    settings = loaded(port="8011")

    assert (settings.port, settings.host) == (8011, "::1")


def test_values_that_are_given_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDOFF_PORT", "8011")

    assert Settings.load(port=8012).port == 8012


def test_settings_are_frozen() -> None:
    settings = Settings.load()

    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("database_url", "mysql://localhost/x"),
        ("database_url", "sqlite:///:memory:"),
        ("database_url", "sqlite:///"),
        ("database_prepare", "perhaps"),
        ("secret_keys", "AAAA"),
        ("secret_keys", "+" * 43 + "="),
        ("secret_keys", f"{KEY},{KEY[:-1]}"),
        ("port", "0"),
        ("port", "65536"),
        ("port", "http"),
        ("dispatcher", "on"),
        ("reassign", "never"),
        ("queue_limit", "0"),
        ("batch_limit", "0"),
        ("batch_limit", "4097"),
        ("patience_seconds", "0"),
        ("grace_seconds", "-1"),
        ("grace_seconds", "inf"),
        ("rate_limit", "60"),
        ("rate_limit", "0/minute"),
        ("rate_limit", "60/fortnight"),
        ("rate_limit_store", "localhost:6379"),
        ("rate_limit_store", "memcached://localhost"),
        ("token_cache_seconds", "61"),
        ("token_leeway_seconds", "301"),
        ("callback_policy", "test"),
        ("callback_plain_http", "perhaps"),
        ("callback_allow_nets", "10.0.0.0/33"),
        ("callback_allow_nets", "10.0.0.0/8,10.0.0.1/8"),
        ("callback_signing", "maybe"),
        ("callback_timeout_seconds", "0"),
        ("callback_timeout_seconds", "301"),
        ("callback_in_flight", "0"),
        ("callback_lease_seconds", "0"),
        ("callback_lease_seconds", "39.9"),
        ("callback_lease_seconds", "inf"),
        ("log_format", "xml"),
        ("log_level", "TRACE"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_variables_name(refused: Any, variable: str, value: str) -> None:
    assert all(line.startswith(f"HANDOFF_{variable.upper()}") for line in refused(**{variable: value}))


def test_every_mistake_has_a_line_of_its_own(refused: Any) -> None:
    assert {line.split(":")[0] for line in refused(port="x", reassign="x", log_level="x")} == {
        "HANDOFF_PORT",
        "HANDOFF_REASSIGN",
        "HANDOFF_LOG_LEVEL",
    }


def test_a_store_that_is_not_known_is_told_what_to_write(refused: Any) -> None:
    assert refused(database_url="handoff.db") == [
        "HANDOFF_DATABASE_URL: use sqlite:///path/to/file or postgresql://user@host/database"
    ]


@pytest.mark.parametrize("url", ["sqlite:////var/lib/handoff.db", "postgresql://h/d", "postgres://h1,h2/d?x=1"])
def test_either_store_can_be_named(loaded: Any, url: str) -> None:
    assert loaded(database_url=url).database_url == url


def test_lists_are_separated_by_commas(loaded: Any) -> None:
    settings = loaded(
        callback_allow_nets="10.0.0.0/8, fd00::/8,",
        callback_allow_hosts=" a.example ,.b.example,",
        callback_secrets=f"{SECRET},whsec_b2xk",
        secret_keys=f"{KEY}, {OLD_KEY}",
    )

    assert settings.callback_allow_nets == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert settings.callback_allow_hosts == ("a.example", ".b.example")
    assert [secret.get_secret_value() for secret in settings.callback_secrets] == [SECRET, "whsec_b2xk"]
    assert [key.get_secret_value() for key in settings.secret_keys] == [KEY, OLD_KEY]


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_an_empty_list_is_empty(loaded: Any, text: str) -> None:
    assert loaded(callback_allow_hosts=text).callback_allow_hosts == ()


def certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority of a test")])
    first, last = datetime(2025, 1, 1, tzinfo=UTC), datetime(2045, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, first, last).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM)


def test_an_empty_variable_is_as_good_as_none(loaded: Any) -> None:
    assert loaded(port="", reassign="", callback_plain_http="").port == 8000


def test_a_file_of_certificates_is_looked_at(loaded: Any, refused: Any) -> None:
    Path("no.pem").write_text("no certificate", encoding="utf-8")
    Path("ca.pem").write_bytes(certificate())

    assert loaded(callback_ca_file="ca.pem").callback_ca_file == Path("ca.pem")
    for file in ("no.pem", "missing.pem"):
        assert refused(callback_ca_file=file)[0].startswith(
            f"HANDOFF_CALLBACK_CA_FILE: no PEM certificates can be read from {file}: "
        )


def test_a_secret_is_not_shown(loaded: Any, refused: Any) -> None:
    store = f"redis://:{SECRET}@localhost"
    shown = repr(loaded(callback_secrets=SECRET, secret_keys=KEY, rate_limit_store=store))

    assert SECRET not in shown
    assert KEY not in shown
    assert "half-a-key" not in "".join(refused(secret_keys=f"{KEY},half-a-key"))
    assert SECRET not in "".join(refused(secret_keys=KEY, rate_limit_store=store.replace("redis", "rediz")))
    for password in ("hush/no", "hush#no", "hush?no", "[hush"):
        assert "hush" not in "".join(refused(rate_limit_store=f"redis://:{password}@localhost:6379"))


def test_a_rate_is_a_number_and_a_period(loaded: Any) -> None:
    assert loaded().rate is None
    assert loaded(rate_limit="60/minute").rate == Rate(60, "minute")


def test_a_key_that_is_none_is_told_with_how_to_make_one(refused: Any) -> None:
    (line,) = refused(secret_keys="no key")

    assert line == (
        "HANDOFF_SECRET_KEYS: each key is the base64 of 32 bytes, with - and _ in place of + and /: "
        "make one with `openssl rand -base64 32 | tr '+/' '-_'`"
    )


@pytest.mark.parametrize(("name", "service"), [("port", "handoff"), ("metrics_port", "handoff-metrics")])
def test_what_kubernetes_sets_for_a_service_of_our_name_is_explained(refused: Any, name: str, service: str) -> None:
    (line,) = refused(**{name: "tcp://10.0.0.1:8000"})

    assert line.startswith(f"HANDOFF_{name.upper()}: ")
    assert line.endswith(f" (Kubernetes sets this for a service named {service}: set enableServiceLinks: false)")


def test_another_variable_or_value_is_not_blamed_on_kubernetes(refused: Any) -> None:
    assert "Kubernetes" not in "".join(refused(port="udp", queue_limit="tcp://10.0.0.1"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "handoff.example", "localhost.example"])
def test_development_is_refused_where_others_can_reach_it(refused: Any, host: str) -> None:
    (line,) = refused(host=host)

    assert line == (
        f"HANDOFF_CALLBACK_POLICY=development lets callbacks reach this machine, so it is refused when listening on "
        f"{host}: set HANDOFF_CALLBACK_POLICY=production or HANDOFF_HOST=127.0.0.1"
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_development_is_for_loopback(loaded: Any, host: str) -> None:
    assert loaded(host=host).callback_policy == "development"


def test_production_needs_secrets(refused: Any) -> None:
    unsigned, in_clear = refused(callback_policy="production", callback_secrets=" , ")

    assert "set HANDOFF_CALLBACK_SECRETS" in unsigned
    assert "HANDOFF_CALLBACK_SIGNING=off" in unsigned
    assert "set HANDOFF_SECRET_KEYS" in in_clear
    assert "`openssl rand -base64 32 | tr '+/' '-_'`" in in_clear


@pytest.mark.parametrize("more", [{"callback_secrets": SECRET}, {"callback_signing": "off"}], ids=str)
def test_production_with_secrets_or_unsigned_by_name_listens_anywhere(loaded: Any, more: dict[str, str]) -> None:
    assert loaded(callback_policy="production", host="0.0.0.0", secret_keys=KEY, **more).host == "0.0.0.0"


def test_a_lease_outlasts_two_attempts_and_ten_seconds(loaded: Any, refused: Any) -> None:
    assert loaded(callback_timeout_seconds="20", callback_lease_seconds="50").callback_lease_seconds == 50
    assert refused(callback_timeout_seconds="20", callback_lease_seconds="49")[0].startswith(
        "HANDOFF_CALLBACK_LEASE_SECONDS must be at least 50, twice HANDOFF_CALLBACK_TIMEOUT_SECONDS and 10 more"
    )


@pytest.mark.parametrize(("policy", "is_allowed"), [("development", True), ("production", False)])
def test_plain_http_is_as_the_policy_says_unless_it_is_set(policy: str, *, is_allowed: bool) -> None:
    unset, on, off = (
        Settings.load(callback_policy=policy, callback_signing="off", secret_keys=KEY, callback_plain_http=plain_http)
        for plain_http in (None, True, False)
    )

    assert unset.allows_plain_http is is_allowed
    assert on.allows_plain_http
    assert not off.allows_plain_http


def test_a_variable_that_is_no_setting_is_told_with_the_nearest() -> None:
    environment = {
        "HANDOFF_PROT": "1",
        "HANDOFF_ZZZZZZZZZZZZZZZZZZZZ": "1",
        "HANDOFF_PORT": "1",
        "PATH": "/bin",
        "handoff_port": "1",
    }

    assert unknown_variables(environment) == [
        "HANDOFF_PROT is not a setting; did you mean HANDOFF_PORT?",
        "HANDOFF_ZZZZZZZZZZZZZZZZZZZZ is not a setting",
    ]


def test_a_variable_of_the_file_that_is_no_setting_is_told_too() -> None:
    Path(".env").write_text("HANDOFF_HOSTS=x\nSOMEBODY_ELSES=1\n", encoding="utf-8")

    assert unknown_variables({}) == ["HANDOFF_HOSTS is not a setting; did you mean HANDOFF_HOST?"]


def test_the_variables_of_this_process_are_those_that_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDOFF_QUEUE_LIMITS", "5")

    assert unknown_variables() == ["HANDOFF_QUEUE_LIMITS is not a setting; did you mean HANDOFF_QUEUE_LIMIT?"]

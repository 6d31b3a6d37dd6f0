"""Every setting: `HANDOFF_*` in the environment or in a file `.env`, frozen after start."""

import ipaddress
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from handoff.domain.rate import Rate, parse_rate

PREFIX = "HANDOFF_"

# What Fernet takes: the base64 of 32 bytes, in the alphabet for URLs.
_is_secret_key: Final = re.compile(r"[A-Za-z0-9_-]{43}=").fullmatch
_MAKE_KEY: Final = "make one with `openssl rand -base64 32 | tr '+/' '-_'`"


class SettingsError(Exception):
    """The settings cannot be used. Each line of the message names a variable and what to do."""


class Settings(BaseSettings):
    """What an operator can set. Field descriptions give meaning and unit; `.env.example` lists them all."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    database_url: str = Field(
        default="sqlite:///handoff.db",
        description="Where everything is stored: `sqlite:///path` (one machine) or any `postgresql://` URL.",
    )
    database_prepare: bool = Field(
        default=True,
        description="Server-side prepared statements on PostgreSQL. Off behind a pooler in transaction mode.",
    )
    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="Keys that apps' secrets are sealed with in the store, separated by commas, newest first. "
        "Production needs one; development without stores secrets in clear.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=1, le=65535, description="TCP port to listen on.")
    metrics_port: int | None = Field(
        default=None, ge=1, le=65535, description="TCP port on which `GET /metrics` is answered; unset: nothing is."
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="Address to listen on for metrics, which anybody who reaches it may read."
    )
    dispatcher: Literal["inline", "off"] = Field(
        default="inline",
        description="Whether `serve` also delivers callbacks (`inline`) or leaves it to `handoff dispatch` (`off`).",
    )
    reassign: Literal["expected", "always"] = Field(
        default="expected",
        description="Whether a session may be taken from an agent only by naming that agent in `expectedAgentId`, "
        "or always.",
    )
    queue_limit: int = Field(
        default=2_000, ge=1, description="Requests that may wait for a transaction before the answer is 503."
    )
    connections_limit: int = Field(
        default=4_000,
        ge=1,
        le=100_000,
        description="Connections that one process keeps open; for one more, the one that has been idle for longest is "
        "closed.",
    )
    batch_limit: int = Field(default=256, ge=1, le=4_096, description="Requests decided in one transaction at most.")
    patience_seconds: float = Field(
        default=10, gt=0, le=600, description="Seconds that a request may wait for its transaction to begin."
    )
    grace_seconds: float = Field(
        default=20, ge=0, le=3_600, description="Seconds that a stop waits for requests and callbacks under way."
    )
    rate_limit: str | None = Field(
        default=None,
        description="Calls that an account may make, as `60/minute` (or second, hour, day): so many transfers, and as "
        "many other calls; unset: any number.",
    )
    rate_limit_store: SecretStr | None = Field(
        default=None,
        description="Redis that counts the calls of several processes together: a URL with `redis://`, `rediss://` or "
        "`unix://`; unset: each process counts its own.",
    )
    token_cache_seconds: float = Field(
        default=5,
        ge=0,
        le=60,
        description="Seconds that a verified token and a read of the directory are trusted: how long a revoked secret "
        "still works.",
    )
    token_leeway_seconds: float = Field(
        default=30,
        ge=0,
        le=300,
        description="Seconds by which clocks may differ when `exp`, `nbf` and `iat` are checked.",
    )
    callback_policy: Literal["development", "production"] = Field(
        default="development",
        description="`development` allows callbacks to loopback and over plain http; it is refused when listening on "
        "anything but loopback. `production` allows neither.",
    )
    callback_plain_http: bool | None = Field(
        default=None, description="Whether callbacks may use plain http; unset: as the policy says."
    )
    callback_allow_nets: Annotated[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], NoDecode] = Field(
        default=(), description="Private networks that callbacks may reach, as CIDR, separated by commas."
    )
    callback_allow_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts that callbacks may reach, separated by commas, `.example.com` for subdomains; empty: any.",
    )
    callback_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="Signing secrets `whsec_…` separated by commas, newest first. Each app's own is derived from them.",
    )
    callback_signing: Literal["on", "off"] = Field(
        default="on", description="`off` sends callbacks unsigned; production needs secrets or this."
    )
    callback_ca_file: Path | None = Field(
        default=None, description="File of further CA certificates (PEM) that receivers are verified with."
    )
    callback_timeout_seconds: float = Field(
        default=15, gt=0, le=300, description="Seconds from the start of an attempt to the end of reading its answer."
    )
    callback_in_flight: int = Field(
        default=128, ge=1, le=4_096, description="Callbacks being posted at one time, per dispatcher."
    )
    callback_lease_seconds: float = Field(
        default=60,
        gt=0,
        le=86_400,
        description="Seconds after which a callback claimed by a dispatcher that died is taken over.",
    )
    retention_delivered_days: float = Field(
        default=7, gt=0, le=3_650, description="Days that delivered callbacks are kept, with their attempts."
    )
    retention_dead_days: float = Field(
        default=30, gt=0, le=3_650, description="Days that dead and cancelled callbacks are kept, with their attempts."
    )
    retention_events_days: float = Field(
        default=7, gt=0, le=3_650, description="Days that events of the feed are kept, for those who read it later."
    )
    event_streams_limit: int = Field(
        default=1_000,
        ge=1,
        le=100_000,
        description="Streams of events that one process serves before the answer is 503.",
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="`console` for people, `json` for machines."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Lowest level that is logged."
    )

    @classmethod
    def load(cls, **values: Any) -> Self:  # noqa: ANN401 (any field may be given)
        """The settings of this environment, with `values` over them. Raises SettingsError."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingsError("\n".join(_sentence(problem) for problem in error.errors())) from None

    @field_validator("secret_keys", "callback_allow_nets", "callback_allow_hosts", "callback_secrets", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("rate_limit")
    @classmethod
    def _is_rate(cls, value: str | None) -> str | None:
        if value is not None:
            parse_rate(value)
        return value

    @field_validator("rate_limit_store")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or _is_redis_url(value.get_secret_value()):
            return value
        raise ValueError(
            "use redis://host:port/number, rediss:// for TLS, or unix:///path/to/socket; in a password write / as %2F, "
            "# as %23 and ? as %3F"
        )

    @field_validator("secret_keys")
    @classmethod
    def _are_secret_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(_is_secret_key(key.get_secret_value()) for key in value):
            raise ValueError(f"each key is the base64 of 32 bytes, with - and _ in place of + and /: {_MAKE_KEY}")
        return value

    @field_validator("callback_ca_file")
    @classmethod
    def _holds_certificates(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                ssl.create_default_context().load_verify_locations(value)
            except OSError as error:  # ssl.SSLError is one
                raise ValueError(f"no PEM certificates can be read from {value}: {error.strerror}") from None
        return value

    @field_validator("database_url")
    @classmethod
    def _is_known_store(cls, value: str) -> str:
        in_memory = value in {"sqlite:///", "sqlite:///:memory:"}
        if value.startswith(("sqlite:///", "postgresql://", "postgres://")) and not in_memory:
            return value
        raise ValueError("use sqlite:///path/to/file or postgresql://user@host/database")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        misfits = list(self._misfits())
        if misfits:
            raise ValueError("\n".join(misfits))
        return self

    def _misfits(self) -> Iterator[str]:
        """A sentence for each thing that the settings, fine one by one, cannot be together."""
        if self.callback_policy == "development" and not _is_loopback(self.host):
            yield (
                f"HANDOFF_CALLBACK_POLICY=development lets callbacks reach this machine, so it is refused when "
                f"listening on {self.host}: set HANDOFF_CALLBACK_POLICY=production or HANDOFF_HOST=127.0.0.1"
            )
        if self.callback_policy == "production" and self.callback_signing == "on" and not self.callback_secrets:
            yield (
                "callbacks would go out unsigned: set HANDOFF_CALLBACK_SECRETS (whsec_ and the output of "
                "`openssl rand -base64 32`) or say HANDOFF_CALLBACK_SIGNING=off"
            )
        if self.callback_policy == "production" and not self.secret_keys:
            yield f"apps' secrets would be stored in clear: set HANDOFF_SECRET_KEYS ({_MAKE_KEY})"
        if self.callback_lease_seconds < 2 * self.callback_timeout_seconds + 10:
            yield (
                f"HANDOFF_CALLBACK_LEASE_SECONDS must be at least {2 * self.callback_timeout_seconds + 10:g}, twice "
                "HANDOFF_CALLBACK_TIMEOUT_SECONDS and 10 more, or callbacks under way would be taken over"
            )

    @property
    def rate(self) -> Rate | None:
        """How often an account may call; None: any number of times."""
        return None if self.rate_limit is None else parse_rate(self.rate_limit)

    @property
    def allows_plain_http(self) -> bool:
        """Whether a `callbackUrl` may be `http://…`."""
        if self.callback_plain_http is None:
            return self.callback_policy == "development"
        return self.callback_plain_http


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """A sentence for every `HANDOFF_*` variable, also of `.env`, that is no setting, with the nearest that is."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    sentences = []
    for name in sorted({*environment, *dotenv_values(".env")}):
        if name.startswith(PREFIX) and name not in known:
            near = get_close_matches(name, known, n=1)
            sentences.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    return sentences


def _sentence(problem: Mapping[str, Any]) -> str:
    said = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return said
    name = PREFIX + str(problem["loc"][0]).upper()
    if name.endswith("_PORT") and str(problem["input"]).startswith("tcp://"):
        service = name.removesuffix("_PORT").lower().replace("_", "-")
        said += f" (Kubernetes sets this for a service named {service}: set enableServiceLinks: false)"
    return f"{name}: {said}"


def _is_redis_url(url: str) -> bool:
    """Whether it is one, with a port that is a number: else the client would quote what is part of a password."""
    try:
        return url.startswith(("redis://", "rediss://", "unix://")) and urlsplit(url).port != 0
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

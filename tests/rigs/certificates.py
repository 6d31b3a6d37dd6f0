"""Certificates made on the spot: an authority of the test's own, and what it signs."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Authority:
    """Signs certificates for servers; `file` is what its clients must trust. Everything is kept in `folder`."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        self._folder = folder
        self._identity = _issue(name, None, days=(-1, 1))
        self.file = folder / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(self._identity.certificate.public_bytes(Encoding.PEM))

    @classmethod
    def unknown(cls, folder: Path) -> Self:
        """One whose file nobody is told to trust."""
        return cls(folder, "unknown authority")

    def serves(self, host: str = "127.0.0.1", *, days: tuple[int, int] = (-1, 1)) -> ssl.SSLContext:
        """A server's context with a certificate for this host, valid from and until so many days from now."""
        return _context(self._folder, _issue(host, self._identity, days=days))


def self_signed(folder: Path, host: str = "127.0.0.1") -> ssl.SSLContext:
    """A server's context with a certificate that vouches for itself."""
    return _context(folder, _issue(host, None, days=(-1, 1), is_authority=False))


def _issue(name: str, issuer: Identity | None, *, days: tuple[int, int], is_authority: bool | None = None) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signing_key = issuer.key if issuer else key
    now = datetime.now(UTC)
    is_ca = issuer is None if is_authority is None else is_authority
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * _DAY)
        .not_valid_after(now + days[1] * _DAY)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
    )
    if is_ca:
        builder = builder.add_extension(_signs_certificates(), critical=True)
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(name)]), critical=False)
    return Identity(builder.sign(signing_key, hashes.SHA256()), key)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _context(folder: Path, identity: Identity) -> ssl.SSLContext:
    file = folder / f"{identity.certificate.serial_number:x}.pem"
    key = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(key + identity.certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context

"""Certificates for trying Content Credentials, as C2PA wants them: of an authority of our own, which nobody trusts."""

from datetime import UTC, datetime, timedelta
from typing import Any

from llmga.extras import require

WHO = "LLMGA test, not to be trusted"


def test_certificates(days: int) -> tuple[bytes, bytes]:
    """The chain, the signer's certificate first, and the signer's key, both as PEM.

    Args:
        days: how long they hold.

    Raises:
        UserError: the package `cryptography` is not installed.
    """
    what = "a test key"
    x509, ec = require("cryptography.x509", what), require("cryptography.hazmat.primitives.asymmetric.ec", what)
    hashes = require("cryptography.hazmat.primitives.hashes", what)
    serialization = require("cryptography.hazmat.primitives.serialization", what)
    authority, signer = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.now(UTC)

    def signed(subject: str, of: Any, extensions: list[tuple[Any, bool]]) -> bytes:
        made = (
            x509.CertificateBuilder()
            .subject_name(_name(x509, subject))
            .issuer_name(_name(x509, "authority"))
            .public_key(of)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))  # clocks differ
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(of), critical=False)
        )
        for extension, critical in extensions:
            made = made.add_extension(extension, critical=critical)
        content: bytes = made.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        return content

    purposes = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    leaf = [(x509.BasicConstraints(False, None), True), (_usage(x509, "digital_signature"), True), (purposes, False),
            (issuer, False)]  # fmt: skip
    root = [(x509.BasicConstraints(True, 0), True), (_usage(x509, "key_cert_sign", "crl_sign"), True)]
    chain = signed("signer", signer.public_key(), leaf) + signed("authority", authority.public_key(), root)
    plain = serialization.NoEncryption()
    key = signer.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return chain, key


def _name(x509: Any, role: str) -> Any:
    oid = x509.oid.NameOID
    return x509.Name([x509.NameAttribute(oid.ORGANIZATION_NAME, WHO), x509.NameAttribute(oid.COMMON_NAME, role)])


def _usage(x509: Any, *purposes: str) -> Any:
    every = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{name: name in purposes for name in every})

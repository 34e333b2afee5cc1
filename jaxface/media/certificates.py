"""Who signs Content Credentials: the user's certificate, or one of the user's own making."""

import datetime
import os
from pathlib import Path
from typing import Any

from jaxface.errors import UsageError, on_one_line
from jaxface.runtime.files import atomic_path

CERTIFICATE, KEY = "JAXFACE_C2PA_CERTIFICATE", "JAXFACE_C2PA_KEY"
"""Environment variables: PEM files, the certificate's chain from the user's own on, and its key."""
_YEARS = 10  # that a certificate of one's own making is for
_UNUSED = (
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "encipher_only",
    "decipher_only",
)


def load_c2pa() -> Any:
    """The module c2pa.

    Raises:
      UsageError: c2pa-python is not installed.
    """
    try:
        import c2pa  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError(
            f'Content Credentials need c2pa-python ({error}): pip install "jaxface[provenance]"'
        ) from error
    return c2pa


def load_signer() -> Any:
    """The signer of the certificate that `CERTIFICATE` and `KEY` name, or of `own_certificate`.

    Raises:
      UsageError: the files are no chain of certificates and its key, or only one of them is named.
    """
    c2pa = load_c2pa()
    given = [os.environ.get(name) for name in (CERTIFICATE, KEY)]
    if any(given) and not all(given):
        raise UsageError(
            f"{CERTIFICATE} and {KEY} go together: PEM files of a certificate's chain and key"
        )
    files = [Path(each) for each in given if each] or own_certificate()
    try:
        chain, key = (file.read_bytes() for file in files)
        algorithm = _algorithm(key)
        info = c2pa.C2paSignerInfo(alg=algorithm, sign_cert=chain, private_key=key, ta_url=None)
        return c2pa.Signer.from_info(info)
    except (OSError, ValueError, TypeError, c2pa.C2paError) as error:
        raise UsageError(
            f"{files[0]}, {files[1]}: expected the PEM files of a certificate's chain and of its "
            f"private key ({on_one_line(str(error))})"
        ) from error


def own_certificate() -> list[Path]:
    """The user's own certificate and its key, made when first asked for.

    It says that a file is unchanged since it was signed, not who signed it. Both lie in the user's
    folder of configuration, ``jaxface/c2pa``; nobody else may read the key.

    Raises:
      UsageError: they cannot be kept there.
    """
    base = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))
    folder = base / "jaxface" / "c2pa"
    files = [folder / "certificate.pem", folder / "key.pem"]
    if not all(file.is_file() for file in files):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(folder) as made:  # both together, should others make them too
                made.mkdir(mode=0o700)
                for file, data in zip(files, _make_certificate(), strict=True):
                    with open(made / file.name, "xb") as out:
                        os.fchmod(out.fileno(), 0o600)
                        out.write(data)
        except OSError as error:
            if all(file.is_file() for file in files):
                return files
            raise UsageError(
                f"{folder}: a certificate cannot be kept there ({error.strerror or error}); name "
                f"one with {CERTIFICATE} and {KEY}"
            ) from error
    return files


def _algorithm(key: bytes) -> bytes:
    """C2PA's name of the signature algorithm of a private key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    private = serialization.load_pem_private_key(key, password=None)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return {256: b"es256", 384: b"es384", 521: b"es512"}[private.key_size]
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return b"ed25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return b"ps256"
    raise ValueError(f"a key of {type(private).__name__} does not sign manifests")


def _make_certificate() -> tuple[bytes, bytes]:
    """A chain of a certificate for signing and the root that signed it, and the key, in PEM.

    C2PA asks for what stands in them; a certificate that signed itself is refused.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    root_key, key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    now = datetime.datetime.now(datetime.UTC)

    def named(name: str) -> Any:
        parts = ((NameOID.ORGANIZATION_NAME, "jaxface"), (NameOID.COMMON_NAME, name))
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])

    def certificate(name: str, public: Any, *, authority: bool) -> Any:
        use = dict.fromkeys(_UNUSED, False)
        signs = {"digital_signature": not authority, "key_cert_sign": authority}
        return (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named("self-made root"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
            .add_extension(x509.BasicConstraints(authority, 0 if authority else None), True)
            .add_extension(x509.KeyUsage(**use, **signs, crl_sign=authority), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        )

    root = certificate("self-made root", root_key.public_key(), authority=True)
    own = (
        certificate("self-made certificate", key.public_key(), authority=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False
        )
    )
    pem = serialization.Encoding.PEM
    chain = b"".join(each.sign(root_key, None).public_bytes(pem) for each in (own, root))
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return chain, private

"""Content Credentials (C2PA): a signed statement inside a picture's file of what made it, by `c2pa-python`.

A signature holds the time and a random number: the same picture signed twice gives different bytes.
"""

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

import llmga
from llmga.assistant.provenance import source_of
from llmga.assistant.record import Record
from llmga.errors import UserError, reason, system_reason
from llmga.extras import require
from llmga.images import to_rgb
from llmga.registry import Registry

MODELS = "org.llmga.models"  # label of our own assertion, which names the models and, if asked for, the prompt

# The kinds of key that C2PA admits, by what openssl writes at the head of a key.
ALGORITHMS = Registry("kind of signing key", {
    "secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512", "ed25519": "ed25519", "rsa": "ps256",
})  # fmt: skip
_SETTINGS = {"builder": {"thumbnail": {"enabled": False}}}  # which would be larger than a small picture itself


@dataclass(frozen=True)
class Signer:
    """Signs picture files.

    Attributes:
        chain: certificates as PEM, the signer's own first.
        key: its private key as PEM, without a password.
        algorithm: of C2PA, such as "es256".
        prompt: the statement holds prompt and request, too.
    """

    chain: bytes
    key: bytes
    algorithm: str
    prompt: bool = False

    @classmethod
    def open(cls, certificates: str | Path, key: str | Path, *, prompt: bool = False) -> "Signer":
        """Read certificates and key, and sign once with them to see that they fit.

        Raises:
            UserError: a file cannot be read, is none of its kind, or the two do not belong together.
        """
        chain, secret = (_read(path, what) for path, what in ((certificates, "certificate"), (key, "key")))
        signer = cls(chain, secret, _algorithm(secret, key), prompt)
        try:
            signer._signed(_png(Image.new("RGB", (8, 8))), "png", {"title": "trial"}, None)
        except UserError:
            raise
        except Exception as problem:  # of the library's own types, none of which says which file it is about
            raise UserError(
                f"--c2pa {str(certificates)!r} {str(key)!r} cannot sign ({reason(problem)}); give a chain of "
                "certificates for signing documents and the first one's key, both as PEM."
            ) from None
        return signer

    def __call__(self, content: bytes, kind: str, record: Record, parent: Image.Image | None = None) -> bytes:
        """The file with its signed statement.

        Args:
            content: the whole file.
            kind: a row of `llmga.assistant.image_files.FORMATS`.
            record: how the picture was made.
            parent: the picture that was changed, which becomes the statement's ingredient; needed where the record
                names one.
        """
        facts: dict[str, Any] = {"models": [asdict(mark) for mark in record.models]}
        if self.prompt:
            facts |= {"prompt": record.prompt, "request": record.request}
        return self._signed(
            content, kind, {"title": record.task, "assertions": [{"label": MODELS, "data": facts}]}, parent
        )

    def _signed(self, content: bytes, kind: str, manifest: dict[str, Any], parent: Image.Image | None) -> bytes:
        c2pa = require("c2pa", "--c2pa")
        generator = {"claim_generator_info": [{"name": "LLMGA", "version": llmga.__version__}]}
        made = c2pa.Builder(manifest | generator, c2pa.Context.from_dict(_SETTINGS))
        if parent is None:
            made.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.TRAINED_ALGORITHMIC_MEDIA)
        else:
            made.set_intent(c2pa.C2paBuilderIntent.EDIT)
            ingredient = {"title": "the picture that was changed", "relationship": "parentOf"}
            made.add_ingredient(ingredient, "image/png", io.BytesIO(_png(parent)))
            made.add_action({"action": "c2pa.edited", "digitalSourceType": source_of(parent)})
        pair = c2pa.C2paSignerInfo(self.algorithm.encode(), self.chain, self.key, None)
        out = io.BytesIO()
        made.sign(c2pa.Signer.from_info(pair), f"image/{kind}", io.BytesIO(content), out)
        return out.getvalue()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    to_rgb(image).save(buffer, "PNG")
    return buffer.getvalue()


def _read(path: str | Path, what: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as problem:
        raise UserError(f"--c2pa: the {what} {str(path)!r} cannot be read ({system_reason(problem)}).") from None
    if b"-----BEGIN" not in content:
        raise UserError(f"--c2pa: the {what} {str(path)!r} is no PEM file; convert it with openssl.")
    return content


def _algorithm(key: bytes, path: str | Path) -> str:
    """C2PA's name of what a key signs with.

    Raises:
        UserError: it is none that C2PA admits, or takes a password.
    """
    serialization = require("cryptography.hazmat.primitives.serialization", "--c2pa")
    try:
        secret = serialization.load_pem_private_key(key, None)
    except (TypeError, ValueError) as problem:
        raise UserError(
            f"--c2pa: {str(path)!r} is no private key that opens without a password ({reason(problem)})."
        ) from None
    curve = getattr(secret, "curve", None)
    return ALGORITHMS[curve.name if curve else type(secret).__name__.strip("_").removesuffix("PrivateKey").lower()]


def unsigned(content: bytes, kind: str) -> bytes:
    """The file without the box that holds a signed statement: what was signed, where nothing changed it since.

    Args:
        kind: a row of `llmga.assistant.image_files.FORMATS`.
    """
    return _BOXES[kind](content)


def _png_without(content: bytes) -> bytes:
    kept, at = [content[:8]], 8
    while at + 12 <= len(content):
        size = 12 + int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8] != b"caBX":
            kept.append(content[at : at + size])
        at += size
    return b"".join(kept)


def _jpeg_without(content: bytes) -> bytes:
    kept, at = [content[:2]], 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] != b"\xda":  # up to the start of the pixels
        size = 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if content[at + 1] != 0xEB or content[at + 4 : at + 6] != b"JP":
            kept.append(content[at : at + size])
        at += size
    return b"".join([*kept, content[at:]])


def _webp_without(content: bytes) -> bytes:
    kept, at = [], 12
    while at + 8 <= len(content):
        size = 8 + (length := int.from_bytes(content[at + 4 : at + 8], "little")) + length % 2
        if content[at : at + 4] != b"C2PA":
            kept.append(content[at : at + size])
        at += size
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


_BOXES = {"png": _png_without, "jpeg": _jpeg_without, "webp": _webp_without}


@dataclass(frozen=True)
class Credentials:
    """What the signed statement of a file says.

    Attributes:
        state: "trusted", "valid" (whole, by a certificate that is on no list of trust) or "invalid".
        generator: the program that made it, with its version.
        issuer: who the certificate says has signed.
        actions: what was done, such as "c2pa.created".
        sources: the digital source types of the actions.
        ingredients: titles of the pictures that it was made from.
        models: as our own statements name them: role, name, sha256.
        prompt: where it is told.
        problems: why it is invalid, in C2PA's terms.
    """

    state: str
    generator: str
    issuer: str
    actions: tuple[str, ...]
    sources: tuple[str, ...]
    ingredients: tuple[str, ...]
    models: tuple[dict[str, Any], ...] = ()
    prompt: str | None = None
    problems: tuple[str, ...] = ()


def credentials_in(path: str | Path, kind: str) -> Credentials | None:
    """What a file's signed statement says, and whether it holds; None where there is none.

    Args:
        kind: a row of `llmga.assistant.image_files.FORMATS`.

    Raises:
        UserError: there is one that cannot be read, or the package is not installed.
    """
    c2pa = require("c2pa", "to read Content Credentials")
    try:
        with open(path, "rb") as file, c2pa.Reader(f"image/{kind}", file) as reader:
            return _told(json.loads(reader.json()))
    except c2pa.C2paError as problem:
        if "ManifestNotFound" in type(problem).__name__ or "no JUMBF" in str(problem):
            return None
        return Credentials("invalid", "", "", (), (), (), problems=(reason(problem),))


def _told(store: dict[str, Any]) -> Credentials:
    manifest = store["manifests"][store["active_manifest"]]
    data = {each["label"]: each["data"] for each in manifest.get("assertions", [])}
    actions: list[dict[str, Any]] = next(
        (facts["actions"] for label, facts in data.items() if label.startswith("c2pa.actions")), []
    )
    generator = (manifest.get("claim_generator_info") or [{}])[0]
    failures = store.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
    own = data.get(MODELS, {})
    return Credentials(
        store["validation_state"].lower(),
        " ".join(str(generator[name]) for name in ("name", "version") if name in generator),
        manifest.get("signature_info", {}).get("issuer", ""),
        tuple(action["action"] for action in actions),
        tuple(dict.fromkeys(action["digitalSourceType"] for action in actions if "digitalSourceType" in action)),
        tuple(each.get("title", "") for each in manifest.get("ingredients", [])),
        tuple(own.get("models", ())),
        own.get("prompt"),
        tuple(failure["code"] for failure in failures if failure["code"] != "signingCredential.untrusted"),
    )

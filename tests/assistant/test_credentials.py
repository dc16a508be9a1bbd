"""Signed statements in pictures, written and read by the library that others read them with."""

import io
import json

import c2pa
import numpy as np
import pytest
from PIL import Image

from llmga.assistant.credentials import Signer, credentials_in, unsigned
from llmga.assistant.image_files import FORMATS, SUFFIXES, encoded, read
from llmga.assistant.provenance import CHANGED, GENERATED, source_in
from llmga.assistant.record import ModelMark, Record, picture_hash
from llmga.errors import UserError
from llmga.serve.certificates import test_certificates as certificates

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
PARENT = Image.new("RGB", (32, 24), "navy")
MARKS = (ModelMark("language", "words", None), ModelMark("painter", "paint", "ab" * 32))
FROM_WORDS = Record(prompt="a red star", request="paint a star", seed=3, models=MARKS)
OF_PARENT = Record(prompt="a red star", request="fill it", seed=3, task="inpainting", parent=picture_hash(PARENT))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("key")
    chain, key = certificates(2)
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key)
    return folder / "chain.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def signer(pair):
    return Signer.open(*pair)


def written(folder, kind, content):
    path = folder / f"picture{SUFFIXES[kind]}"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_a_signed_picture_keeps_pixels_and_record_and_says_what_made_it(signer, kind, tmp_path):
    plain = encoded(PICTURE, FROM_WORDS, kind)
    content = encoded(PICTURE, FROM_WORDS, kind, signer=signer)
    path = written(tmp_path, kind, content)
    found = credentials_in(path, kind)
    assert found.state == "valid" and found.generator.startswith("LLMGA") and found.issuer.startswith("LLMGA test")
    assert found.actions == ("c2pa.created",) and found.sources == (GENERATED,) and found.prompt is None
    assert found.models == tuple({"role": m.role, "name": m.name, "sha256": m.sha256} for m in MARKS)
    assert read(path) == read(written(tmp_path, kind, plain)) and source_in(path) == GENERATED
    assert Image.open(io.BytesIO(content)).tobytes() == Image.open(io.BytesIO(plain)).tobytes()
    assert unsigned(content, kind) == plain
    assert unsigned(plain, kind) == plain


@pytest.mark.parametrize("kind", FORMATS)
def test_a_changed_picture_names_its_parent(signer, kind, tmp_path):
    path = written(tmp_path, kind, encoded(PICTURE, OF_PARENT, kind, signer=signer, parent=PARENT))
    found = credentials_in(path, kind)
    assert found.actions == ("c2pa.opened", "c2pa.edited") and found.sources == (CHANGED,)
    assert found.ingredients == ("the picture that was changed",) and source_in(path) == CHANGED
    with c2pa.Reader(str(path)) as reader:
        manifest = reader.get_active_manifest()
    assert manifest["ingredients"][0]["relationship"] == "parentOf"


@pytest.mark.parametrize("kind", FORMATS)
def test_one_changed_bit_breaks_the_statement(signer, kind, tmp_path):
    content = bytearray(encoded(PICTURE, FROM_WORDS, kind, signer=signer))
    content[-40] ^= 1  # among the pixels, or the record behind them
    assert credentials_in(written(tmp_path, kind, bytes(content)), kind).state == "invalid"


def test_the_prompt_is_told_only_where_it_is_asked_for(pair, tmp_path):
    telling = Signer.open(*pair, prompt=True)
    path = written(tmp_path, "png", encoded(PICTURE, FROM_WORDS, signer=telling, strip=True))
    assert credentials_in(path, "png").prompt == "a red star"
    assert b"paint a star" not in encoded(PICTURE, FROM_WORDS, signer=Signer.open(*pair), strip=True)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_file_says_that_a_model_made_it_even_without_its_record(kind, tmp_path):
    content = encoded(PICTURE, FROM_WORDS, kind, strip=True)
    assert source_in(written(tmp_path, kind, content)) == GENERATED
    assert credentials_in(tmp_path / f"picture{SUFFIXES[kind]}", kind) is None


def test_a_hundred_unsigned_files_of_every_kind_are_not_taken_for_signed(tmp_path):
    for number in range(34):
        for kind in FORMATS:
            image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 8 + number, 3), np.uint8))
            path = written(tmp_path, kind, encoded(image, FROM_WORDS, kind))
            assert credentials_in(path, kind) is None


def test_signing_takes_a_key_and_the_certificate_of_that_key(pair, tmp_path):
    chain, key = pair
    other = tmp_path / "other.pem"
    other.write_bytes(certificates(2)[1])
    text = tmp_path / "notes.txt"
    text.write_text("no key")
    for given, told in (
        ((chain, other), "cannot sign"),
        ((tmp_path / "none.pem", key), "certificate .*none.pem.*cannot be read"),
        ((chain, text), "notes.txt.* is no PEM file"),
        ((chain, chain), "no private key"),
    ):
        with pytest.raises(UserError, match=told):
            Signer.open(*given)


def test_verify_says_who_made_a_file_and_what_was_changed_since(signer, tmp_path, capsys):
    from llmga.serve import verify

    whole = written(tmp_path, "png", encoded(PICTURE, FROM_WORDS, signer=signer))
    assert verify.main([str(whole)]) == 0
    told = capsys.readouterr().out
    assert "by a certificate that is on no list of trust" in told and "painter: paint (ababababab)" in told
    assert "IPTC digital source type: trainedAlgorithmicMedia" in told and "seed 3" in told
    broken = tmp_path / "broken.png"
    content = bytearray(whole.read_bytes())
    content[-40] ^= 1
    broken.write_bytes(content)
    assert verify.main([str(broken)]) == 1 and "BROKEN: assertion.dataHash.mismatch" in capsys.readouterr().out
    photo = tmp_path / "photo.jpg"
    PICTURE.save(photo)
    assert verify.main([str(photo), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["generated"] and found["credentials"] is None and found["watermark"] is None


def test_a_test_key_is_written_once_and_kept_from_others(tmp_path, capsys):
    from llmga.serve import test_key

    assert test_key.main(["--to", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / test_key.KEY).stat().st_mode & 0o777 == 0o600
    Signer.open(tmp_path / "new" / test_key.CHAIN, tmp_path / "new" / test_key.KEY)
    assert test_key.main(["--to", str(tmp_path / "new")]) == 2 and "is there already" in capsys.readouterr().err

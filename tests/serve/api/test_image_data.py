"""Hostile pictures: refused in one sentence or seen in their right colours, never a 5xx, never a hang."""

import base64
import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from llmga.errors import UserError
from llmga.serve.api.errors import ApiError
from llmga.serve.api.image_data import MAX_SCANS, RequestLimits, decode_image, from_data_uri, in_srgb

CASES = 200
SLOWEST = 5.0  # seconds of the processor for one picture, so that a busy machine changes nothing
LEFT, RIGHT = (200, 40, 60), (30, 120, 210)  # the halves of a picture, which tell how it was turned
TOLERANCE = {"JPEG": 12, "WEBP": 12, "AVIF": 14, "LAB": 10}
MODES = {
    "PNG": ("RGB", "RGBA", "P"),
    "JPEG": ("RGB", "CMYK", "YCbCr"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("RGB", "P"),
    "BMP": ("RGB", "P"),
    "AVIF": ("RGB",),
    "TIFF": ("RGB", "RGBA", "CMYK", "P", "LAB"),
}
ROTATIONS = range(1, 9)


def halves(size=(24, 16)):
    image = Image.new("RGB", size, LEFT)
    image.paste(RIGHT, (size[0] // 2, 0, *size))
    return image


def as_mode(image, mode):
    if mode == "P":
        return image.quantize(4)
    if mode == "LAB":
        return ImageCms.profileToProfile(
            image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    return image.convert(mode)


def saved(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def turned(orientation):
    """A file that is upright only after its EXIF rotation is applied."""
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = halves() if undo is None else halves().transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(stored, "PNG", exif=exif)


def deep_png(samples, colour_type):
    """A PNG of 16 bits a sample, which Pillow cannot write in colour: (height, width, channels) of uint16."""
    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png_file(struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0), zlib.compress(rows))


def png_file(header, data):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def sixteen_bits(channels, colour_type):
    pixels = np.asarray(halves()).astype(np.uint16) * 257
    alpha = np.full((*pixels.shape[:2], 1), 65535, np.uint16)
    return deep_png(np.concatenate([pixels, alpha], 2)[..., :channels], colour_type)


def valid():
    """name -> (file, tolerance, colours): everything that is to be seen as it is meant."""
    photo, rgb = halves(), (LEFT, RIGHT)
    gray = tuple((value,) * 3 for value in (ImageOps.grayscale(Image.new("RGB", (1, 1), c)).getpixel((0, 0))
                                            for c in rgb))  # fmt: skip
    clear = photo.convert("RGBA")
    clear.putalpha(Image.new("L", photo.size, 0))
    files = {
        f"{form} {mode}": (saved(as_mode(photo, mode), form), TOLERANCE.get(mode, TOLERANCE.get(form, 1)), rgb)
        for form, modes in MODES.items()
        for mode in modes
    }
    files |= {f"{form} L": (saved(photo.convert("L"), form), TOLERANCE.get(form, 1), gray)
              for form in ("PNG", "JPEG", "TIFF", "BMP")}  # fmt: skip
    files |= {f"rotation {way}": (turned(way), 1, rgb) for way in ROTATIONS}
    files["PNG RGB 16"] = sixteen_bits(3, 2), 1, rgb
    files["PNG RGBA 16"] = sixteen_bits(4, 6), 1, rgb
    deep = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    files["PNG I;16"] = saved(Image.fromarray(deep), "PNG"), 1, gray
    files["TIFF I;16"] = saved(Image.fromarray(deep), "TIFF"), 1, gray
    files["PNG transparent"] = saved(clear, "PNG"), 1, ((255,) * 3, (255,) * 3)
    others = [Image.new("RGB", photo.size, (0, 255, 0))] * 3
    for form in ("GIF", "PNG", "WEBP"):
        name = f"{form} animated"
        files[name] = saved(photo, form, save_all=True, append_images=others), TOLERANCE.get(form, 1), rgb
    files["JPEG progressive"] = saved(photo, "JPEG", progressive=True), 12, rgb
    files["PNG interlaced size"] = saved(halves((2, 1)), "PNG"), 1, rgb
    return files


def bomb(width, height):
    """A small file that says it is enormous."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return png_file(header, zlib.compress(b"\0" * 100_000))


def broken():
    """Files that are no picture, or are too large for one."""
    photo = saved(halves(), "PNG")
    jpeg = saved(halves((64, 64)), "JPEG", progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return {
        "empty": b"",
        "text": b"hello",
        "html": b"<html><img src=x></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
        "pdf": saved(halves(), "PDF"),
        "icns": saved(halves((32, 32)), "ICNS"),
        "zero width": png_file(struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0), zlib.compress(b"\0")),
        "zero height": png_file(struct.pack(">IIBBBBB", 5, 0, 8, 2, 0, 0, 0), zlib.compress(b"")),
        "bomb": bomb(60_000, 60_000),
        "wide bomb": bomb(2**31 - 1, 1),
        "tall bomb": bomb(1, 2**31 - 1),
        "large": bomb(6000, 6000),
        "header only": photo[:33],
        "text bomb": photo[:33] + struct.pack(">I", 2**31 - 1) + b"zTXt",
        "scans": jpeg[:-2] + scan * MAX_SCANS + jpeg[-2:],
        "gif of no size": b"GIF89a\0\0\0\0\0\0\0;",
        "bmp of no size": b"BM" + b"\0" * 52,
        "webp of nothing": b"RIFF\x04\0\0\0WEBP",
        "tiff loop": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    }


def torn(files, count):
    """Valid files cut short or with wrong bytes: whatever they still show, the server has to live."""
    chance, names, found = np.random.default_rng(7), sorted(files), {}
    while len(found) < count:
        name = names[len(found) % len(names)]
        content = bytearray(files[name][0])
        if len(found) % 2:
            content = content[: chance.integers(1, len(content))]
        else:
            for place in chance.integers(0, len(content), 8):
                content[place] = chance.integers(0, 256)
        found[f"torn {len(found)} {name}"] = bytes(content)
    return found


VALID, BROKEN = valid(), broken()
TORN = torn(VALID, CASES - len(VALID) - len(BROKEN))


def shown(server, content):
    """What the assistant saw, and how long it took."""
    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}
    began = time.process_time()
    return server.http.post("/v1/chat/completions", json=body), time.process_time() - began


def test_two_hundred_hostile_pictures(running):
    server, refused = running(), 0
    assert len(VALID) + len(BROKEN) + len(TORN) == CASES
    for name, content in {**{name: case[0] for name, case in VALID.items()}, **BROKEN, **TORN}.items():
        answer, seconds = shown(server, content)
        assert answer.status_code in (200, 400), (name, answer.text)
        assert seconds < SLOWEST, name
        assert name not in BROKEN or answer.status_code == 400, name
        refused += answer.status_code == 400
        files = {"image": ("x.png", content), "mask": ("m.png", content)}
        assert server.http.post("/v1/images/edits", data={"prompt": "red"}, files=files).status_code in (200, 400), name
    assert len(BROKEN) < refused < CASES - len(VALID)


@pytest.mark.parametrize("name", VALID)
def test_valid_pictures_are_seen_upright_and_in_their_right_colours(name):
    content, tolerance, colours = VALID[name]
    image = decode_image(content, RequestLimits())
    assert image.mode == "RGB"
    width, height = image.size
    for place, colour in zip((0, width - 1), colours, strict=True):
        assert np.abs(np.subtract(image.getpixel((place, height // 2)), colour)).max() <= tolerance


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_colour_profile_is_taken_into_account(mode):
    """A profile that exchanges red and blue exchanges them."""
    image = halves().convert(mode)
    image.info["icc_profile"] = swapped_profile(ImageCms.createProfile("sRGB"))
    seen = in_srgb(image)
    assert seen.mode == mode
    for x, (red, green, blue) in ((0, LEFT), (23, RIGHT)):
        assert np.abs(np.subtract(seen.getpixel((x, 0))[:3], (blue, green, red))).max() <= 2
    image.info["icc_profile"] = b"no profile"
    assert in_srgb(image) is image


def swapped_profile(srgb):
    """sRGB with its red and blue primaries exchanged, under another name."""
    content = bytearray(ImageCms.ImageCmsProfile(srgb).tobytes())
    count = struct.unpack(">I", content[128:132])[0]
    tags = {bytes(content[132 + 12 * k : 136 + 12 * k]): 132 + 12 * k for k in range(count)}
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    content[red : red + 4], content[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(content).replace("sRGB".encode("utf-16-be"), "xRGB".encode("utf-16-be")).replace(b"sRGB ", b"xRGB ")


def test_a_picture_to_be_changed_keeps_its_mode_and_depth():
    assert decode_image(VALID["PNG RGBA"][0], RequestLimits(), exact=True).mode == "RGBA"
    assert decode_image(VALID["PNG I;16"][0], RequestLimits(), exact=True).mode == "I;16"


def test_bytes_pixels_and_number_are_bounded(running):
    server = running("--max-picture-mb", "0.01", "--max-megapixels", "0.01", "--max-pictures", "2")
    noise = saved(Image.effect_noise((80, 80), 90), "BMP")
    assert shown(server, noise)[0].status_code == 200
    assert shown(server, noise + b"\0" * 10_000)[0].status_code == 413
    assert shown(server, saved(halves((200, 100)), "PNG"))[0].status_code == 400
    files = [("image", ("x.png", saved(halves(), "PNG")))] * 3
    assert server.http.post("/v1/images/edits", data={"prompt": "red"}, files=files).status_code == 400


@pytest.mark.parametrize(
    "uri",
    ["", "photo.png", "/etc/passwd", "file:///etc/passwd", "data:image/png,abc", "data:text/html;base64,AAAA",
     "data:image/png;base64,A", "data:image/png;base64,%41", "ftp://example.com/a.png"],
)  # fmt: skip
def test_an_address_is_never_a_path(uri):
    with pytest.raises(ApiError) as told:
        from_data_uri(uri, RequestLimits())
    assert told.value.status == 400


def test_a_decoder_that_fails_in_any_way_is_a_broken_picture(monkeypatch):
    monkeypatch.setattr("llmga.serve.api.image_data.open_image", lambda *_, **__: 1 / 0)
    with pytest.raises(UserError, match="broken"):
        decode_image(b"x", RequestLimits())

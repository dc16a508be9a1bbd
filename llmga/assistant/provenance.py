"""That a picture was generated, said in its file by IPTC's digital source type in an XMP packet.

The terms are of https://cv.iptc.org/newscodes/digitalsourcetype/; the packet is as XMP (ISO 16684-1) has it.
"""

from contextlib import suppress
from pathlib import Path

from PIL import Image

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
CHANGED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
PNG_KEYWORD = "XML:com.adobe.xmp"  # of the text chunk that holds a PNG's packet

_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'Iptc4xmpExt:DigitalSourceType="{}"/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


def source_of(parent: object | None) -> str:
    """The digital source type of a picture: of a model alone, or one in which a model changed another picture.

    Args:
        parent: what was changed; None for a picture from words.
    """
    return GENERATED if parent is None else CHANGED


def xmp_packet(source: str) -> bytes:
    """The packet that names a digital source type."""
    return _PACKET.format(source).encode()


def source_in(path: str | Path) -> str | None:
    """The digital source type that a picture's XMP names, of those written here; None where there is none."""
    with suppress(Exception), Image.open(path) as image:  # a stranger's file may fail in any way
        image.load()
        packet = image.info.get("xmp") or getattr(image, "text", {}).get(PNG_KEYWORD) or b""
        text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else str(packet)
        return next((source for source in (CHANGED, GENERATED) if source in text), None)
    return None

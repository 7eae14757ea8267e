"""What is looked at before an image is decoded, and what is set right for img2dataset's own decoder.

Formats that can be anything but a picture (SVG), pictures far larger than their bytes, and cut-off ones are refused by
cause. Animations give their first frame, CMYK and 16 bits are brought to 8-bit RGB: OpenCV would cut 16 bits off at
white.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from datacomp_worker.download.network import Refusal

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
AS_THEY_ARE = {
    "JPEG": {"RGB", "L"},
    "PNG": {"RGB", "RGBA", "L", "P", "1", "LA"},
    "WEBP": {"RGB", "RGBA"},
    "BMP": {"RGB"},
}
"""Modes of formats that the decoder takes as they are."""


def prepare(data: bytes, pixels: int) -> bytes:
    """The image as the decoder takes it, mostly `data` itself. `Refusal` names what is wrong with it."""
    if not data:
        raise Refusal("empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image, pixels)
                plain = image.mode in AS_THEY_ARE.get(image.format or "", ()) and not _is_deep(data)
                if plain and not getattr(image, "is_animated", False):
                    _check_whole(data, image.format or "")
                    return data
                return _as_png(image)
    except UnidentifiedImageError:
        raise Refusal("not-an-image", _looks_like(data)) from None
    except Image.DecompressionBombError as error:
        raise Refusal("too-many-pixels", str(error)[:200]) from error
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, IndexError, KeyError) as error:
        cause = "truncated" if "truncated" in str(error).lower() else "damaged"
        raise Refusal(cause, str(error)[:200]) from error


def _check_size(image: ImageFile.ImageFile, pixels: int) -> None:
    width, height = image.size
    if width * height > pixels:
        raise Refusal("too-many-pixels", f"{width} x {height}, {pixels:,} allowed")


def _is_deep(data: bytes) -> bool:
    """Whether it is a PNG of 16 bits, which Pillow calls plain RGB: its header's ninth byte says so."""
    return data.startswith(b"\x89PNG") and data[24:25] == b"\x10"


def _check_whole(data: bytes, form: str) -> None:
    """Decoders fill what is missing with grey: a cut-off file is told by its end."""
    tail = data[-4096:].rstrip(b"\0\r\n ")
    if (form == "JPEG" and b"\xff\xd9" not in tail) or (form == "PNG" and b"IEND" not in tail):
        raise Refusal("truncated", f"the {form} has no end")


def _as_png(image: ImageFile.ImageFile) -> bytes:
    """The first frame, in 8 bits."""
    image.seek(0)
    if image.mode.startswith("I") or image.mode == "F":
        wide = np.asarray(image, np.float64)
        top = 65535.0 if image.mode.startswith("I") else max(float(wide.max()), 1e-9)
        shown = Image.fromarray(np.clip(np.rint(wide / top * 255), 0, 255).astype(np.uint8))
    elif image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        shown = image.convert("RGBA")
    else:
        shown = image.convert("RGB")
    out = io.BytesIO()
    shown.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _looks_like(data: bytes) -> str:
    head = data[:1024].lstrip().lower()
    kinds = ((b"<svg", "SVG"), (b"<!doctype html", "HTML"), (b"<html", "HTML"), (b"%pdf", "PDF"))
    return next((name for mark, name in kinds if mark in head), "no format that is taken")

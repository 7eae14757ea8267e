"""img2dataset, guarded: its reader, writer, resizer, distributors and bookkeeping, our network and our look at images.

Both guards travel inside the objects that img2dataset hands to its distributors, so that they hold in its processes, on
Ray and on Spark alike.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from email.message import Message
from typing import Any

from img2dataset import downloader as plain
from img2dataset.resizer import Resizer

from datacomp_worker.download.limits import Limits
from datacomp_worker.download.network import Network, Refusal
from datacomp_worker.download.pictures import prepare

Row = tuple[int, str]


class GuardedDownloader(plain.Downloader):  # type: ignore[misc]
    """img2dataset's downloader of a shard, whose images come through `Network`."""

    limits = Limits()

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.limits = type(self).limits  # an attribute of the object: classes are not pickled, objects are

    def __call__(self, row: Any) -> Any:
        """Download a shard; (whether that worked, the row)."""
        network = Network(self.limits)

        def download_image(row: Row, *_: Any, **__: Any) -> tuple[int, io.BytesIO | None, str | None]:
            return _download(network, row)

        # The function that img2dataset's own retrying calls for every image.
        plain.download_image = download_image
        return super().__call__(row)


class GuardedResizer(Resizer):  # type: ignore[misc]
    """img2dataset's resizer, given only what is an image."""

    limits = Limits()

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.pixels = type(self).limits.pixels

    def __call__(self, img_stream: io.BytesIO, blurring_bbox_list: Any = None) -> Any:
        """As the base; the last of the six is why there is no image."""
        try:
            prepared = prepare(img_stream.getvalue(), self.pixels)
        except Refusal as refusal:
            return None, None, None, None, None, str(refusal)
        found = super().__call__(io.BytesIO(prepared), blurring_bbox_list)
        return found if found[-1] is None else (*found[:-1], f"damaged: {found[-1]}")


def _download(network: Network, row: Row) -> tuple[int, io.BytesIO | None, str | None]:
    """What img2dataset's own function of this kind gives: key, bytes, why there are none."""
    key, url = row
    try:
        return key, io.BytesIO(network.fetch(url or "", forbidden_by(network.limits))), None
    except Refusal as refusal:
        return key, None, str(refusal)


def forbidden_by(limits: Limits) -> Callable[[Message], bool]:
    """Whether an answer's headers forbid the use, as img2dataset reads them."""

    def forbidden(headers: Message) -> bool:
        if not limits.directives:
            return False
        return bool(plain.is_disallowed(headers, limits.user_agent, set(limits.directives)))

    return forbidden

"""How many passes over its pixels a JPEG file makes its decoder do.

A progressive file is sent in scans, and each goes over the whole image again. A scan that changes
nothing takes some 30 bytes, so a file within every other limit can keep a decoder busy for hours.
"""

from __future__ import annotations

import re

_START_OF_IMAGE = b"\xff\xd8"
_START_OF_SCAN = b"\xda"
_END_OF_IMAGE = b"\xd9"
# A marker that opens a segment. Not one: 0xFF 0x00 (a data byte), restart markers, which stand
# within a scan's data, TEM, and fill bytes (ITU-T T.81, B.1.1). Like libjpeg, and so that nothing
# hides from the count, bytes between segments are skipped.
_SEGMENT = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)


def count_jpeg_scans(data: bytes, *, stop_after: int) -> int:
    """Count the scans of a JPEG file's first image.

    Args:
        data: The file. Of anything but a JPEG the count is 0.
        stop_after: The count goes no higher than one more than this.
    """
    if not data.startswith(_START_OF_IMAGE):
        return 0
    scans = 0
    position = len(_START_OF_IMAGE)
    while scans <= stop_after:
        segment = _SEGMENT.search(data, position)
        if segment is None or segment[1] == _END_OF_IMAGE:
            break
        scans += segment[1] == _START_OF_SCAN
        length = int.from_bytes(data[segment.end() : segment.end() + 2], "big")
        position = segment.end() + max(length, 2)
    return scans

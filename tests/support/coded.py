"""What is coded in a file, frame by frame."""

import hashlib

import av


def hashes(path):
    """Of the slices of each frame: a server repeats the parameter sets where it likes."""
    with av.open(str(path)) as container:
        return [hashlib.sha256(slices(bytes(p))).digest() for p in container.demux(video=0) if p.size]


def slices(packet):
    found, at = b"", 0
    while at < len(packet):
        end = at + 4 + int.from_bytes(packet[at : at + 4])
        found += packet[at:end] if 1 <= packet[at + 4] & 0x1F <= 5 else b""
        at = end
    assert found
    return found

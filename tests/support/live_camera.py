"""A camera that goes on whether or not anybody looks: a real RTSP server over UDP (rtsp-rs), in a process of its own.

    python -P tests/support/live_camera.py PORT FPS CLIP[:FRAMES] ...

Each H.264 clip with start codes is played after the one before, FRAMES of it or all, over and over; the first begins
when somebody looks. It says `ready` once it listens.
"""

import itertools
import sys
import time

import av
import rtsp

CLOCK = 90_000
"""Of RTP's timestamps of video, a second."""


def pictures(clip):
    """The coded pictures of a clip, key frames with their parameter sets; all of it or so many."""
    path, _, count = clip.partition(":")
    with av.open(path) as container:
        found = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    return found[: int(count)] if count else found


def main():
    port, fps, *clips = sys.argv[1:]
    frames = [picture for clip in clips for picture in pictures(clip)]
    server = rtsp.Server(f"127.0.0.1:{port}")
    server.start()
    print("ready", flush=True)
    while not server.get_viewers():
        time.sleep(0.01)
    begin = time.monotonic()
    for number, frame in enumerate(itertools.cycle(frames)):
        time.sleep(max(0.0, begin + number / int(fps) - time.monotonic()))
        server.send_frame(frame, CLOCK // int(fps))


if __name__ == "__main__":
    main()

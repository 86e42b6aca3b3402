"""Average number of people in view: what moves against the chunk's own background. Needs only NumPy and OpenCV.

PRODUCING EXACTLY 1 ROWS WITH SCHEMA (people:NUMBER=0). Made for a fixed camera and chunks of a few seconds: whoever
stands still for most of a chunk is taken for background, and people who overlap count as one.
"""

import cv2
import numpy as np

HEIGHT = 288  # frames are reduced to this height: enough for people of 20 pixels, and cheap
CONTRAST = 25  # grey levels by which a person differs from the background
SMALLEST = 0.00027  # area of the smallest person, as a share of the picture
UPRIGHT = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 13))  # joins head, trunk and legs, not neighbours


def reduce(frame):
    """A smoothed grey picture of the working height."""
    height, width = frame.shape[:2]
    if height > HEIGHT:
        frame = cv2.resize(frame, (width * HEIGHT // height, HEIGHT), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), (5, 5), 0)


def background(pictures):
    """The median of at most 15 of the pictures, evenly chosen: what is there most of the time."""
    chosen = np.linspace(0, len(pictures) - 1, min(len(pictures), 15)).round().astype(int)
    return np.median(np.stack([pictures[i] for i in chosen]), axis=0).astype(np.uint8)


def count(picture, behind):
    """How many separate things differ from the background."""
    moving = (cv2.absdiff(picture, behind) > CONTRAST).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(moving, cv2.MORPH_CLOSE, UPRIGHT))
    return int((stats[1:, cv2.CC_STAT_AREA] >= SMALLEST * picture.size).sum())


def process(chunk):
    """One row for each chunk."""
    pictures = [reduce(frame) for frame in chunk.frames]
    if not pictures:
        return
    behind = background(pictures)
    yield {"people": sum(count(picture, behind) for picture in pictures) / len(pictures)}

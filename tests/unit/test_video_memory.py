import mmap
import os

import numpy as np
import pytest

from privid.video.memory import FrameBuffer


@pytest.fixture
def sealed():
    buffer = FrameBuffer(3, 2, 5)
    padded = np.full((2, 32), 200, np.uint8)
    padded[:, :15] = np.arange(30, dtype=np.uint8).reshape(2, 15)
    buffer.write(0, padded)
    buffer.write(2, np.full((2, 15), 7, np.uint8))
    fd = buffer.seal()
    yield fd
    os.close(fd)


def content(fd):
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as view:
        return np.frombuffer(view[:], np.uint8).reshape(3, 30)


def test_frames_lie_one_after_the_other_without_padding_and_the_rest_is_black(sealed):
    frames = content(sealed)
    assert frames[0].tolist() == list(range(30))
    assert not frames[1].any()
    assert (frames[2] == 7).all()


def test_nothing_can_change_it(sealed):
    before = content(sealed).tobytes()
    for attempt in (
        lambda: os.pwrite(sealed, b"x", 0),
        lambda: os.ftruncate(sealed, 1),
        lambda: os.ftruncate(sealed, 1_000_000),
        lambda: mmap.mmap(sealed, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_WRITE | mmap.PROT_READ),
        lambda: os.posix_fallocate(sealed, 0, 1_000_000),
    ):
        with pytest.raises(PermissionError):
            attempt()
    reopened = os.open(f"/proc/self/fd/{sealed}", os.O_RDWR)
    with pytest.raises(PermissionError):
        os.write(reopened, b"x")
    os.close(reopened)
    import fcntl

    with pytest.raises(PermissionError):
        fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, 0)
    with mmap.mmap(sealed, 0, prot=mmap.PROT_READ) as view, pytest.raises(TypeError):
        view[0] = 1
    assert content(sealed).tobytes() == before


def test_it_is_not_inherited_by_accident(sealed):
    assert not os.get_inheritable(sealed)


def test_memory_that_is_given_up_leaves_no_descriptor():
    before = len(os.listdir("/proc/self/fd"))
    buffer = FrameBuffer(1, 8, 8)
    buffer.close()
    buffer.close()
    assert len(os.listdir("/proc/self/fd")) == before

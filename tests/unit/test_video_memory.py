import ctypes
import errno
import mmap
import os

import numpy as np
import pytest

from privid.video.memory import FramePool


@pytest.fixture
def sealed():
    buffer = FramePool().take(3, 2, 5)
    padded = np.full((2, 32), 200, np.uint8)
    padded[:, :15] = np.arange(30, dtype=np.uint8).reshape(2, 15)
    buffer.write(0, padded)
    buffer.fill(1, (0, 128, 7))
    buffer.write(2, np.full((2, 15), 7, np.uint8))
    yield buffer.fd
    buffer.close()


def content(fd):
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as view:
        return np.frombuffer(view[:], np.uint8).reshape(3, 30)


def test_frames_lie_one_after_the_other_without_padding_and_some_have_one_pixel_throughout(sealed):
    frames = content(sealed)
    assert frames[0].tolist() == list(range(30))
    assert frames[1].tolist() == [0, 128, 7] * 10
    assert (frames[2] == 7).all()


def test_nobody_else_can_change_it(sealed):
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


def test_a_mapping_made_by_another_cannot_be_made_writable(sealed):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    address = libc.mmap(None, 90, mmap.PROT_READ, mmap.MAP_SHARED, sealed, 0)
    assert libc.mprotect(address, 90, mmap.PROT_READ | mmap.PROT_WRITE) == -1
    assert ctypes.get_errno() == errno.EACCES


def open_files():
    return len(os.listdir("/proc/self/fd"))


def test_memory_that_is_given_up_leaves_no_descriptor():
    before = open_files()
    buffer = FramePool().take(1, 8, 8)
    buffer.close()
    buffer.close()
    assert open_files() == before


def test_a_buffer_serves_again_for_the_same_shape_only():
    before, pool = open_files(), FramePool()
    first = pool.take(2, 8, 8)
    first.reuse()
    assert pool.take(2, 8, 8) is first
    first.reuse()
    other = pool.take(1, 8, 8)  # fewer frames: the rest of the memory would still hold an earlier chunk
    assert other is not first
    assert first.fd == -1
    other.reuse()
    pool.close()
    late = FramePool()
    buffer = late.take(1, 8, 8)
    late.close()
    buffer.reuse()
    assert buffer.fd == -1
    assert open_files() == before

"""The query and the policy of the acceptance tests: thirty chunks of 2 s, 20 frames each."""

START = "2026-09-01T13:00:00Z"
START_US = 1_788_267_600_000_000

POLICY = """
default_epsilon = 1.0
[camera.plaza]
epsilon = {epsilon}
rho = "4s"
K = 1
fps = 10
width = 160
height = 96
timezone = "UTC"
timing = "{timing}"
"""

QUERY = """SPLIT plaza BEGIN 2026-09-01T13:00:00Z END 2026-09-01T13:01:00Z BY TIME 2sec INTO chunks;
PROCESS chunks USING '{executable}' TIMEOUT {timeout} PRODUCING {rows} ROWS WITH SCHEMA (n:NUMBER={default}) INTO t;
SELECT {select} FROM t CONSUMING {epsilon};
"""


def query(
    executable: str = "frames.py",
    *,
    timeout: str = "200ms",
    rows: str = "EXACTLY 1",
    default: int = 0,
    select: str = "SUM(RANGE(n, 0, 2))",
    epsilon: str = "1",
) -> str:
    """Thirty chunks of 2 s, 20 frames each."""
    return QUERY.format(
        executable=executable, timeout=timeout, rows=rows, default=default, select=select, epsilon=epsilon
    )


COUNT_FRAMES = b"def process(chunk):\n    yield {'n': len(chunk.frames) / 20}\n"
"""One for each chunk that is as it should be, so the sum is 30."""
PLENTY = 1000
"""So much epsilon that the noise on that sum has a scale of 0.006: the answer shows the exact sum."""

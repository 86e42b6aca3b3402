"""A real S3 server on loopback, from the package moto, whose buckets outlive its being away."""

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import pytest
from moto.server import ThreadedMotoServer

SECRET = "secret-of-the-test"


class S3Server:
    """One server; several may run at once, and share their buckets."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = self._start(0)
        self.port = self._server.get_host_and_port()[1]
        self.bucket = f"test-{uuid.uuid4().hex[:12]}"
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/video"

    def go_away(self) -> None:
        self._server.stop()

    def come_back(self) -> None:
        self._server = self._start(self.port)

    def files(self) -> set[str]:
        """Names of all objects below the prefix, as another client sees them."""
        prefix = f"{self.bucket}/video/"
        found = self.client().find(prefix)
        return {path.removeprefix(prefix) for path in found}

    def read(self, name: str) -> bytes:
        return self.client().cat_file(f"{self.bucket}/video/{name}")

    def write(self, name: str, content: bytes) -> None:
        self.client().pipe_file(f"{self.bucket}/video/{name}", content)

    def make_bucket(self) -> None:
        self.client().mkdir(self.bucket)

    def stop(self) -> None:
        self._server.stop()

    def client(self) -> fsspec.AbstractFileSystem:
        return fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)

    @staticmethod
    def _start(port: int) -> ThreadedMotoServer:
        server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        server.start()
        return server


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server with one empty bucket; the environment names it and holds its credentials meanwhile."""
    server = S3Server()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in server.environment.items():
            patch.setenv(name, value)
        server.make_bucket()
        try:
            yield server
        finally:
            server.stop()

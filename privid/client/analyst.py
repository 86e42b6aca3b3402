"""The analysts' client."""

import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

from privid.client.connection import ANALYST_PORT, Connection, Target
from privid.client.errors import CallFailed
from privid.client.values import Camera, Executable, Progress, Query, Submission
from privid.domain.release import Release
from privid.rpc.convert import release_value
from privid.rpc.v1 import query_pb2, query_pb2_grpc

_PART_BYTES = 64 * 1024
_UPLOAD_SECONDS = 300.0
"""An upload can be large, and the server tries it."""
_PATIENCE_SECONDS = 120.0
"""How long a watch waits for a server that went away: its restart resumes the query."""
_RETRY_SECONDS = 1.0


def new_request_id() -> str:
    """A request id that nobody else chooses."""
    return secrets.token_hex(16)


class Client:
    """Calls of the analysts' service. A context manager. Every method raises CallFailed.

    Calls are repeated while the server is not there; a submission keeps its request id, so it is charged once.
    """

    def __init__(self, target: Target) -> None:
        self._connection = Connection(target, ANALYST_PORT)
        self._stub = query_pb2_grpc.QueryServiceStub(self._connection.channel)

    @property
    def address(self) -> str:
        """Host and port of the server."""
        return self._connection.address

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()

    def cameras(self) -> tuple[Camera, ...]:
        """The cameras that may be asked about."""
        answer = self._connection.repeat(self._stub.ListCameras, query_pb2.ListCamerasRequest)
        return tuple(Camera.of(message) for message in answer.cameras)

    def sample(self, camera: str) -> bytes:
        """The clip that a camera's owner shows, a video file."""
        request = query_pb2.GetSampleRequest(camera=camera)
        return self._connection.repeat(self._stub.GetSample, lambda: request).content

    def picture(self, camera: str, sha256: str) -> bytes:
        """What a mask or a region scheme of a camera hides, as binary PBM; the camera's policy names it."""
        request = query_pb2.GetCameraPictureRequest(camera=camera, sha256=sha256)
        return self._connection.repeat(self._stub.GetCameraPicture, lambda: request).content

    def upload(self, name: str, content: bytes) -> tuple[Executable, bool]:
        """Store an executable under a name. True: its newest version had this content already."""

        def parts() -> Iterator[query_pb2.UploadExecutableRequest]:
            header = query_pb2.UploadHeader(
                name=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
            )
            yield query_pb2.UploadExecutableRequest(header=header)
            for start in range(0, len(content), _PART_BYTES):
                yield query_pb2.UploadExecutableRequest(data=content[start : start + _PART_BYTES])

        answer = self._connection.repeat(self._stub.UploadExecutable, parts, _UPLOAD_SECONDS)
        return Executable.of(answer.executable), answer.existing

    def executables(self) -> tuple[Executable, ...]:
        """The newest version of each."""
        answer = self._connection.repeat(self._stub.ListExecutables, query_pb2.ListExecutablesRequest)
        return tuple(Executable.of(message) for message in answer.executables)

    def explain(
        self, text: str, default_epsilon_nano: int | None = None, horizon_us: int | None = None
    ) -> dict[str, Any]:
        """What a query would mean and cost, as the document that query-language.md describes.

        `horizon_us` is that of an END NEVER without HORIZON.
        """
        request = query_pb2.ExplainRequest(text=text, default_epsilon_nano=default_epsilon_nano, horizon_us=horizon_us)
        answer = self._connection.repeat(self._stub.Explain, lambda: request)
        document: dict[str, Any] = json.loads(answer.document)
        return document

    def submit(
        self,
        text: str,
        default_epsilon_nano: int | None = None,
        request_id: str | None = None,
        horizon_us: int | None = None,
    ) -> Submission:
        """Have a query admitted. The same request id again is the same query."""
        request = query_pb2.SubmitRequest(
            request_id=request_id or new_request_id(),
            text=text,
            default_epsilon_nano=default_epsilon_nano,
            horizon_us=horizon_us,
        )
        answer = self._connection.repeat(self._stub.Submit, lambda: request)
        return Submission(Query.of(answer.query), answer.existing, answer.shared)

    def watch(self, query_id: str) -> Iterator[Progress]:
        """Progress until the query is over, across a restart of the server."""
        request = query_pb2.WatchRequest(query_id=query_id)
        lost: float | None = None
        while True:
            try:
                for message in self._connection.stream(self._stub.Watch, request):
                    lost = None
                    progress = Progress(Query.of(message.query), message.now_us, message.fraction)
                    yield progress
                    if progress.query.over:
                        return
            except CallFailed as error:
                now = time.monotonic()
                lost = lost or now
                if error.code not in ("unavailable", "busy") or now - lost > _PATIENCE_SECONDS:
                    raise
            time.sleep(_RETRY_SECONDS)

    def result(self, query_id: str) -> Release:
        """The answer. CallFailed with the code `not_visible` before its public time."""
        request = query_pb2.GetResultRequest(query_id=query_id)
        return release_value(self._connection.repeat(self._stub.GetResult, lambda: request))

    def windows(self, query_id: str) -> tuple[Query, tuple[Query, ...]]:
        """A query, and its windows if it has EVERY, in their order."""
        request = query_pb2.ListWindowsRequest(query_id=query_id)
        answer = self._connection.repeat(self._stub.ListWindows, lambda: request)
        return Query.of(answer.query), tuple(Query.of(message) for message in answer.windows)

    def queries(self, limit: int = 0) -> tuple[Query, ...]:
        """The newest queries first; 0: as many as the server shows by itself."""
        request = query_pb2.ListQueriesRequest(limit=limit)
        answer = self._connection.repeat(self._stub.ListQueries, lambda: request)
        return tuple(Query.of(message) for message in answer.queries)

    def cancel(self, query_id: str) -> Query:
        """Give a query up."""
        answer = self._connection.once(self._stub.Cancel, query_pb2.CancelRequest(query_id=query_id))
        return Query.of(answer.query)

"""What analysts call. Every method checks that what it is asked about is the caller's own."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from io import BufferedRandom

from privid.domain.units import SECOND
from privid.rpc.convert import release_message
from privid.rpc.v1 import query_pb2, query_pb2_grpc, types_pb2
from privid.server.cameras import Cameras
from privid.server.clock import Clock
from privid.server.convert import camera_message, executable_message, limit_of, query_message
from privid.server.errors import Refused
from privid.server.executables import ExecutableStore, Upload
from privid.server.guard import Context, caller
from privid.server.people import People
from privid.server.policies import PolicyDesk
from privid.server.ports import QueryEngine
from privid.server.queries import Queries, QueryRow
from privid.server.samples import Samples
from privid.server.settings import Settings

_SHORTEST_TICK = 0.05
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


class QueryService(query_pb2_grpc.QueryServiceServicer):
    """The analysts' port."""

    def __init__(
        self,
        engine: QueryEngine,
        cameras: Cameras,
        policies: PolicyDesk,
        samples: Samples,
        people: People,
        executables: ExecutableStore,
        queries: Queries,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._cameras = cameras
        self._policies = policies
        self._samples = samples
        self._people = people
        self._executables = executables
        self._queries = queries
        self._settings = settings
        self._clock = clock
        self._watches: Counter[int] = Counter()
        self._uploads: dict[int, asyncio.Lock] = {}

    async def ListCameras(
        self, request: query_pb2.ListCamerasRequest, context: Context
    ) -> query_pb2.ListCamerasResponse:
        """Those that the owner granted."""
        name = caller().name

        def read() -> list[types_pb2.Camera]:
            granted = self._people.named(name).cameras
            return [camera_message(view) for view in self._cameras.views(granted)]

        return query_pb2.ListCamerasResponse(cameras=await asyncio.to_thread(read))

    async def GetSample(self, request: query_pb2.GetSampleRequest, context: Context) -> query_pb2.GetSampleResponse:
        """To those who may ask about the camera."""
        name = caller().name

        def read() -> bytes:
            self._require_granted(name, request.camera)
            return self._samples.content(request.camera)

        return query_pb2.GetSampleResponse(content=await asyncio.to_thread(read))

    async def GetCameraPicture(
        self, request: query_pb2.GetCameraPictureRequest, context: Context
    ) -> query_pb2.GetCameraPictureResponse:
        """To those who may ask about the camera: they know what its masks hide (docs/explanation/guarantee.md)."""
        name = caller().name

        def read() -> bytes:
            self._require_granted(name, request.camera)
            return self._policies.picture_of(request.camera, request.sha256)

        return query_pb2.GetCameraPictureResponse(content=await asyncio.to_thread(read))

    def _require_granted(self, analyst: str, camera: str) -> None:
        granted = self._people.named(analyst).cameras
        if camera not in granted:
            raise Refused(
                "unknown_camera",
                f"there is no camera {camera!r} that you may ask about",
                f"cameras: {', '.join(granted) or 'none yet'}",
            )

    async def UploadExecutable(
        self, request_iterator: AsyncIterator[query_pb2.UploadExecutableRequest], context: Context
    ) -> query_pb2.UploadExecutableResponse:
        """Held in a file of its own until complete and checked: a truncated upload leaves nothing behind."""
        who = caller()
        # One at a time of each analyst; the next ones wait, and hold nothing but their first part.
        async with self._uploads.setdefault(who.id, asyncio.Lock()):
            with self._executables.receiving() as file:
                upload = await self._receive(request_iterator, file)
                row, existing = await asyncio.to_thread(self._executables.add, who.id, who.name, upload)
        return query_pb2.UploadExecutableResponse(executable=executable_message(row), existing=existing)

    async def _receive(self, parts: AsyncIterator[query_pb2.UploadExecutableRequest], file: BufferedRandom) -> Upload:
        header: query_pb2.UploadHeader | None = None
        size = 0
        limit = self._settings.max_upload_bytes
        async for part in parts:
            if part.WhichOneof("part") == "header":
                if header is not None:
                    raise Refused("invalid_request", "an upload has one header", "send the header first, then data")
                header = part.header
            elif header is None:
                raise Refused("invalid_request", "an upload begins with its header", "send the header, then data")
            size += len(part.data)
            if max(size, header.size_bytes) > limit:
                raise Refused(
                    "too_large",
                    f"{header.name!r} is larger than {limit:,} bytes",
                    "use smaller weights, or ask whoever runs the server for more (PRIVID_MAX_UPLOAD_BYTES)",
                )
            if size > header.size_bytes:
                raise Refused("upload_incomplete", f"more of {header.name!r} arrived than announced", "upload it again")
            await asyncio.to_thread(file.write, part.data)
        if header is None:
            raise Refused("upload_incomplete", "nothing arrived", "upload it again")
        await asyncio.to_thread(file.flush)
        return Upload(header.name, header.size_bytes, header.sha256, file)

    async def ListExecutables(
        self, request: query_pb2.ListExecutablesRequest, context: Context
    ) -> query_pb2.ListExecutablesResponse:
        """The newest version of each."""
        rows = await asyncio.to_thread(self._executables.newest, caller().id)
        return query_pb2.ListExecutablesResponse(executables=[executable_message(row) for row in rows])

    async def Explain(self, request: query_pb2.ExplainRequest, context: Context) -> query_pb2.ExplainResponse:
        """Public arithmetic only."""
        text = self._text(request.text)
        epsilon = self._default_epsilon(request)
        horizon = _horizon(request)
        document = await asyncio.to_thread(self._engine.explain, caller().id, text, epsilon, horizon)
        return query_pb2.ExplainResponse(document=json.dumps(document, ensure_ascii=False, allow_nan=False))

    async def Submit(self, request: query_pb2.SubmitRequest, context: Context) -> query_pb2.SubmitResponse:
        """Idempotent by request id."""
        if not _REQUEST_ID.fullmatch(request.request_id):
            raise Refused(
                "invalid_request",
                "a request id has 8 to 64 letters, digits, underscores or hyphens",
                "send a random one, and the same one again when you repeat a call",
            )
        text = self._text(request.text)
        epsilon = self._default_epsilon(request)
        horizon = _horizon(request)
        who = caller()

        def submit() -> query_pb2.SubmitResponse:
            outcome = self._engine.submit(who.id, request.request_id, text, epsilon, horizon)
            message = self._message(self._queries.owned(outcome.query_id, who.id))
            return query_pb2.SubmitResponse(query=message, existing=outcome.existing, shared=outcome.shared)

        return await asyncio.to_thread(submit)

    async def Watch(self, request: query_pb2.WatchRequest, context: Context) -> AsyncIterator[query_pb2.WatchResponse]:
        """One message a tick. What it says, and when, follows from public times alone."""
        who = caller()
        row = await asyncio.to_thread(self._queries.owned, request.query_id, who.id)
        if self._watches[who.id] >= self._settings.max_watches:
            raise Refused(
                "too_many_watches",
                f"you have {self._settings.max_watches} open watches",
                "close one, or ask for the result when it is due",
            )
        self._watches[who.id] += 1
        try:
            while True:
                query = await asyncio.to_thread(self._message, row)
                now = self._clock()
                yield query_pb2.WatchResponse(query=query, now_us=now, fraction=_fraction(query, now))
                if query.state in _FINAL:
                    return
                await asyncio.sleep(
                    min(self._settings.tick_seconds, max(_SHORTEST_TICK, (query.visible_us - now) / SECOND))
                )
        finally:
            self._watches[who.id] -= 1

    async def GetResult(self, request: query_pb2.GetResultRequest, context: Context) -> query_pb2.GetResultResponse:
        """From its public time on."""
        who = caller()

        def read() -> query_pb2.GetResultResponse:
            row = self._queries.owned(request.query_id, who.id)
            query = self._message(row)
            if query.HasField("standing"):
                raise Refused(
                    "several_answers", "each window of this query has an answer of its own", "privid windows lists them"
                )
            release = self._engine.result(row.query_id)
            if release is None:
                raise _no_answer(query)
            message = release_message(release)
            message.query_id = row.query_id  # a shared answer was released under another query's id
            # When the answer was ready may depend on what the video shows (privacy-model.md, section 7).
            message.released_us = self._engine.status(row.query_id).visible_us
            return message

        return await asyncio.to_thread(read)

    async def ListWindows(
        self, request: query_pb2.ListWindowsRequest, context: Context
    ) -> query_pb2.ListWindowsResponse:
        """In the order of their video."""
        who = caller()

        def read() -> query_pb2.ListWindowsResponse:
            row = self._queries.owned(request.query_id, who.id)
            windows = [query_message(status, text="") for status in self._engine.windows(row.query_id)]
            return query_pb2.ListWindowsResponse(query=self._message(row), windows=windows)

        return await asyncio.to_thread(read)

    async def ListQueries(
        self, request: query_pb2.ListQueriesRequest, context: Context
    ) -> query_pb2.ListQueriesResponse:
        """Newest first."""
        who = caller()
        limit = limit_of(request.limit)

        def read() -> list[types_pb2.Query]:
            return [self._message(row) for row in self._queries.newest(limit, analyst_id=who.id)]

        return query_pb2.ListQueriesResponse(queries=await asyncio.to_thread(read))

    async def Cancel(self, request: query_pb2.CancelRequest, context: Context) -> query_pb2.CancelResponse:
        """Gives back what has not started."""
        who = caller()

        def cancel() -> types_pb2.Query:
            row = self._queries.owned(request.query_id, who.id)
            self._engine.cancel(row.query_id, f"analyst:{who.id}")
            return self._message(row)

        return query_pb2.CancelResponse(query=await asyncio.to_thread(cancel))

    def _message(self, row: QueryRow) -> types_pb2.Query:
        return query_message(self._engine.status(row.query_id), text=row.text)

    def _text(self, text: str) -> str:
        size = len(text.encode("utf-8"))
        if size > self._settings.max_query_bytes:
            raise Refused(
                "too_large",
                f"the query has {size:,} bytes, more than {self._settings.max_query_bytes:,}",
                "split it into several queries",
            )
        return text

    def _default_epsilon(self, request: query_pb2.ExplainRequest | query_pb2.SubmitRequest) -> int:
        if not request.HasField("default_epsilon_nano"):
            return self._settings.default_epsilon_nano
        if request.default_epsilon_nano <= 0:
            raise Refused("invalid_request", "the default epsilon must be more than 0", "leave it out for the server's")
        return request.default_epsilon_nano


_FINAL = frozenset({types_pb2.QUERY_STATE_RELEASED, types_pb2.QUERY_STATE_CANCELLED, types_pb2.QUERY_STATE_FAILED})


def _fraction(query: types_pb2.Query, now_us: int) -> float:
    """How much of the public schedule has passed. Never computed from what ran."""
    if query.state == types_pb2.QUERY_STATE_RELEASED:
        return 1.0
    duration = query.visible_us - query.starts_us
    return min(max((now_us - query.starts_us) / duration, 0.0), 1.0) if duration > 0 else 0.0


def _horizon(request: query_pb2.ExplainRequest | query_pb2.SubmitRequest) -> int | None:
    if not request.HasField("horizon_us"):
        return None
    if request.horizon_us <= 0:
        raise Refused("invalid_request", "the horizon must be more than 0", "such as 30 days")
    return request.horizon_us


def _no_answer(query: types_pb2.Query) -> Refused:
    """Why there is nothing to read."""
    if query.note:
        return Refused("cancelled", f"cancelled by {query.note}", "ask again for what the new policy allows")
    if query.state == types_pb2.QUERY_STATE_CANCELLED:
        return Refused("cancelled", "the query was cancelled; there will be no answer", "submit it again")
    if query.state == types_pb2.QUERY_STATE_FAILED:
        return Refused(
            "query_failed", "the system failed while answering; the charge stays", "tell the owner the query's id"
        )
    return Refused("not_visible", "the answer is not visible yet", "wait for its public time: privid watch")

"""The services' values as messages."""

import json

from privid.domain.budget import Grid, Loss
from privid.ledger import Refusal, State
from privid.ledger.archive import ChargeRecord, Record
from privid.ledger.audit import Head
from privid.rpc.convert import COVERAGE, STATES, policy_message, state_name
from privid.rpc.v1 import admin_pb2, types_pb2
from privid.server.audits import NamedEntry
from privid.server.cameras import CameraView, TimelineView
from privid.server.errors import Refused
from privid.server.executables import StoredExecutable
from privid.server.forecast import ForecastView
from privid.server.people import Analyst
from privid.server.ports import QueryStatus, Standing
from privid.server.samples import Sample

_DEFAULT_LIMIT = 100
_MOST = 1000


def limit_of(asked: int) -> int:
    """How many rows a list shows; 0 asks for the default. Raises Refused."""
    if not 0 <= asked <= _MOST:
        raise Refused("invalid_request", f"a list shows 1 to {_MOST} rows", "ask for fewer")
    return asked or _DEFAULT_LIMIT


def query_message(status: QueryStatus, *, text: str, analyst: str = "") -> types_pb2.Query:
    """What may be told of a query."""
    message = types_pb2.Query(
        query_id=status.query_id,
        state=STATES[status.state],
        submitted_us=status.submitted_us,
        starts_us=status.starts_us,
        visible_us=status.visible_us,
        charges=[
            types_pb2.CameraCharge(camera=camera, epsilon_nano=nano)
            for camera, nano in sorted(status.epsilon_nano.items())
        ],
        text=text,
        analyst=analyst,
        note=status.note,
    )
    if status.standing is not None:
        message.standing.CopyFrom(_standing_message(status.standing))
    if status.place is not None:
        place = status.place
        message.window.CopyFrom(
            types_pb2.Window(
                standing_id=place.series_id, position=place.position, begin_us=place.begin_us, end_us=place.end_us
            )
        )
    return message


def _standing_message(standing: Standing) -> types_pb2.Standing:
    return types_pb2.Standing(
        every_us=standing.every_us,
        begin_us=standing.begin_us,
        end_us=standing.end_us,
        windows=sum(standing.windows.values()),
        released=standing.windows.get("released", 0),
        cancelled=standing.windows.get("cancelled", 0),
        failed=standing.windows.get("failed", 0),
        next_query_id=standing.next_query or "",
    )


def camera_message(view: CameraView, *, for_owner: bool = False) -> types_pb2.Camera:
    """A camera; its address only for owners."""
    message = types_pb2.Camera(
        name=view.name,
        timezone=view.timezone,
        gaps=view.gaps,
        covered_us=view.covered_us,
        left_now_nano=view.left_now_nano,
        left_min_nano=view.left_min_nano,
        width=view.width,
        height=view.height,
        url=(view.url or "") if for_owner else "",
    )
    if view.policy is not None:
        message.policy.CopyFrom(policy_message(view.policy))
    if view.recorded is not None:
        message.recorded.CopyFrom(types_pb2.Interval(from_us=view.recorded[0], to_us=view.recorded[1]))
    if view.sample is not None:
        message.sample.CopyFrom(sample_message(view.sample))
    return message


def sample_message(sample: Sample) -> types_pb2.Sample:
    """What is known of a sample."""
    return types_pb2.Sample(
        sha256=sample.sha256,
        size_bytes=sample.size_bytes,
        length_us=sample.length_us,
        published_us=sample.published_us,
    )


def timeline_message(view: TimelineView) -> admin_pb2.GetTimelineResponse:
    """What is recorded of a camera."""
    return admin_pb2.GetTimelineResponse(
        camera=view.camera,
        from_us=view.from_us,
        to_us=view.to_us,
        spans=[
            admin_pb2.TimelineSpan(from_us=span.from_us, to_us=span.to_us, state=COVERAGE[span.state])
            for span in view.spans
        ],
        gaps=[admin_pb2.RecordedGap(from_us=gap.begin_us, to_us=gap.end_us, reason=gap.reason) for gap in view.gaps],
    )


def executable_message(row: StoredExecutable, *, for_owner: bool = False) -> types_pb2.Executable:
    """An executable; whose it is only for owners."""
    return types_pb2.Executable(
        name=row.name,
        version=row.version,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        created_us=row.created_us,
        analyst=row.analyst if for_owner else "",
        manifest=row.manifest,
    )


def analyst_message(analyst: Analyst) -> admin_pb2.Analyst:
    """An analyst, without anything of their token."""
    return admin_pb2.Analyst(
        name=analyst.name,
        cameras=analyst.cameras,
        epsilon_limit_nano=analyst.epsilon_limit_nano,
        created_us=analyst.created_us,
        revoked_us=analyst.revoked_us,
    )


def entry_message(named: NamedEntry) -> admin_pb2.AuditEntry:
    """An entry of the audit log, with the name of the analyst who is its actor."""
    entry = named.entry
    return admin_pb2.AuditEntry(
        seq=entry.seq,
        at_us=entry.at_us,
        actor=entry.actor,
        event=entry.event,
        document=entry.document,
        previous=entry.previous,
        hash=entry.hash,
        name=named.name,
    )


def head_message(head: Head) -> admin_pb2.AuditHead:
    """How long the audit log is, and how it ends."""
    return admin_pb2.AuditHead(entries=head.entries, hash=head.hash)


def refusal_message(refusal: Refusal) -> types_pb2.Refusal:
    """Where a budget does not suffice."""
    return types_pb2.Refusal(
        camera=refusal.camera,
        from_us=refusal.from_us,
        to_us=refusal.to_us,
        left_nano=refusal.left_nano,
        asked_nano=refusal.asked_nano,
    )


def forecast_message(view: ForecastView) -> admin_pb2.GetForecastResponse:
    """What a forecast rests on."""
    budget, query = view.budget, view.query
    message = admin_pb2.GetForecastResponse(
        camera=budget.camera,
        epsilon_nano=budget.policy.epsilon_nano,
        recorded=types_pb2.Interval(from_us=budget.from_us, to_us=budget.to_us),
        now_us=view.now_us,
        since_us=view.since_us,
        peaks_nano=view.peaks_nano,
        steps=[
            admin_pb2.ForecastStep(
                from_us=step.from_us,
                to_us=step.to_us,
                left_nano=step.left_nano,
                recent_nano=step.recent_nano,
                asked=step.asked,
            )
            for step in view.steps
        ],
    )
    if query is not None:
        message.query.CopyFrom(
            admin_pb2.QueryForecast(
                times=query.times,
                epsilon_nano=query.epsilon_nano,
                window=types_pb2.Interval(from_us=query.window[0], to_us=query.window[1]),
                refusals=[refusal_message(refusal) for refusal in query.refusals],
            )
        )
    return message


def record_message(record: Record) -> admin_pb2.LedgerRecord:
    """A query with its charges, to leave the ledger."""
    return admin_pb2.LedgerRecord(
        query_id=record.query_id,
        analyst=record.analyst,
        text=record.text,
        default_epsilon_nano=record.default_epsilon_nano,
        cache_key=record.cache_key,
        state=STATES[record.state.value],
        reserved_us=record.reserved_us,
        document=record.document,
        charges=[
            admin_pb2.ChargeRecord(
                camera=charge.camera,
                policy_version=charge.policy_version,
                mask=charge.loss.mask,
                q_nano=charge.loss.q,
                cap_nano=charge.loss.cap,
                begin_us=charge.loss.grid.begin_us,
                chunk_us=charge.loss.grid.chunk_us,
                period_us=charge.loss.grid.period_us,
                chunks=charge.loss.grid.count,
                slots_per_chunk=charge.loss.grid.slots_per_chunk,
                segment_us=charge.segment_us,
                weight=charge.weight,
                cap_holds=charge.cap_holds,
            )
            for charge in record.charges
        ],
    )


def record_value(message: admin_pb2.LedgerRecord) -> Record:
    """The record in a message. Raises Refused for one that no ledger could hold."""
    try:
        charges = tuple(_charge_value(charge) for charge in message.charges)
        state = State(state_name(message.state))
        document = json.loads(message.document)
        if not message.query_id or not charges or not isinstance(document, dict):
            raise ValueError("it has no id, no charges or no explain document")
    except ValueError as error:
        raise Refused("invalid_request", f"record {message.query_id!r}: {error}", "export it again") from None
    return Record(
        query_id=message.query_id,
        analyst=message.analyst,
        text=message.text,
        default_epsilon_nano=message.default_epsilon_nano,
        cache_key=message.cache_key,
        state=state,
        reserved_us=message.reserved_us,
        document=message.document,
        charges=charges,
    )


def _charge_value(message: admin_pb2.ChargeRecord) -> ChargeRecord:
    grid = Grid(message.begin_us, message.chunk_us, message.period_us, message.chunks, message.slots_per_chunk)
    if message.segment_us <= 0 or message.weight <= 0:
        raise ValueError("a charge counts segments of more than 0, at least once")
    cap = message.cap_nano if message.HasField("cap_nano") else None
    return ChargeRecord(
        camera=message.camera,
        policy_version=message.policy_version,
        loss=Loss(message.mask, message.q_nano, cap, grid),
        segment_us=message.segment_us,
        weight=message.weight,
        cap_holds=message.cap_holds,
    )

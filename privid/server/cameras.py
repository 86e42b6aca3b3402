"""Cameras as they are shown: what is recorded, under which policy, with how much budget left."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import sqlalchemy as sa

from privid.database import schema
from privid.database.transactions import write
from privid.domain.intervals import StepFunction
from privid.domain.policy import CameraPolicy
from privid.ledger import Ledger, Policies, audit
from privid.server.clock import Clock
from privid.server.errors import Refused
from privid.server.names import check_address, check_camera_name, check_timezone
from privid.server.samples import Sample, Samples
from privid.video.catalog import Camera, Catalog, Gap, Span

_MOST_STEPS = 4_000
"""What a picture of a camera's spending is drawn from: wider than a screen, and read in a fraction of a second."""
_MOST_SPANS = 40_000
"""Of a timeline, with its gaps: what fits one message."""


@dataclass(frozen=True, slots=True)
class CameraView:
    """A camera. `recorded` is from the first to the last frame's end; sizes are 0 while nothing is recorded."""

    name: str
    timezone: str
    url: str | None
    policy: CameraPolicy | None
    recorded: tuple[int, int] | None = None
    covered_us: int = 0
    gaps: int = 0
    width: int = 0
    height: int = 0
    left_now_nano: int | None = None
    left_min_nano: int | None = None
    sample: Sample | None = None


@dataclass(frozen=True, slots=True)
class BudgetView:
    """Spending of a camera in [from_us, to_us)."""

    camera: str
    policy: CameraPolicy
    from_us: int
    to_us: int
    spent: StepFunction


@dataclass(frozen=True, slots=True)
class TimelineView:
    """What is known of [from_us, to_us) of a camera: spans that fill it in order, and the gaps that meet it."""

    camera: str
    from_us: int
    to_us: int
    spans: tuple[Span, ...]
    gaps: tuple[Gap, ...]


class Cameras:
    """The cameras of one installation."""

    def __init__(self, engine: sa.Engine, clock: Clock, policies: Policies, ledger: Ledger, samples: Samples) -> None:
        self._engine = engine
        self._catalog = Catalog(engine)
        self._clock = clock
        self._policies = policies
        self._ledger = ledger
        self._samples = samples

    def add(self, actor: str, name: str, timezone: str, url: str) -> CameraView:
        """A new camera, without a policy: nothing can be asked of it yet. Raises Refused."""
        check_camera_name(name)
        check_timezone(timezone)
        if url:
            check_address(url)
        table = schema.cameras

        def insert(connection: sa.Connection) -> None:
            known = connection.execute(sa.select(table.c.name)).scalars().all()
            # Queries find cameras whatever the case of their letters.
            same = [other for other in known if other.casefold() == name.casefold()]
            if same:
                raise Refused("already_exists", f"there is a camera {same[0]!r} already", "choose another name")
            connection.execute(
                table.insert().values(name=name, timezone=timezone, url=url or None, created_us=self._clock())
            )
            audit.append(
                connection,
                self._clock(),
                actor,
                "camera.added",
                {"camera": name, "timezone": timezone, "live": bool(url)},
            )

        write(self._engine, insert)
        return self.views((name,))[0]

    def views(self, names: Iterable[str] | None = None) -> tuple[CameraView, ...]:
        """These cameras, or all, by name. Unknown names are left out."""
        wanted = None if names is None else set(names)
        policies, samples = self._policies.all_current(), self._samples.all()
        return tuple(
            replace(self._view(camera, policies.get(camera.name)), sample=samples.get(camera.name))
            for camera in self._catalog.cameras()
            if wanted is None or camera.name in wanted
        )

    def budget(self, name: str, from_us: int | None, to_us: int | None) -> BudgetView:
        """Spending over a window, by default the whole recording. Raises Refused."""
        self._require_camera(name)
        (view,) = self.views((name,))
        if view.policy is None:
            raise Refused("no_policy", f"camera {name} has no policy", f"privid-admin policy set {name}")
        begin, end = _window(name, view.recorded, from_us, to_us)
        spent = self._ledger.spent(name, begin, end, most_steps=_MOST_STEPS)
        return BudgetView(name, view.policy, begin, end, spent)

    def timeline(self, name: str, from_us: int | None, to_us: int | None) -> TimelineView:
        """What is known of a window, by default of the whole recording. Raises Refused."""
        self._require_camera(name)
        recorded = self._catalog.recorded(name)
        begin, end = _window(name, (recorded.begin_us, recorded.end_us) if recorded else None, from_us, to_us)
        spans, gaps = self._catalog.coverage(name, begin, end), self._catalog.gaps(name, begin, end)
        if len(spans) + len(gaps) > _MOST_SPANS:
            raise Refused("invalid_request", f"{name} has too many gaps in that time", "ask for a shorter time")
        return TimelineView(name, begin, end, spans, gaps)

    def _require_camera(self, name: str) -> None:
        known = [camera.name for camera in self._catalog.cameras()]
        if name not in known:
            listed = ", ".join(known) or "none yet"
            raise Refused("unknown_camera", f"there is no camera {name!r}", f"cameras: {listed}")

    def _view(self, camera: Camera, policy: CameraPolicy | None) -> CameraView:
        recorded = self._catalog.recorded(camera.name)
        if recorded is None:
            return CameraView(camera.name, camera.timezone, camera.url, policy)
        begin, end = recorded.begin_us, recorded.end_us
        spans = self._catalog.coverage(camera.name, begin, end)
        width, height = self._catalog.frame_size(camera.name) or (0, 0)
        view = CameraView(
            name=camera.name,
            timezone=camera.timezone,
            url=camera.url,
            policy=policy,
            recorded=(begin, end),
            covered_us=sum(span.to_us - span.from_us for span in spans if span.state == "covered"),
            gaps=sum(span.state != "covered" for span in spans),
            width=width,
            height=height,
        )
        if policy is None:
            return view
        spent = self._ledger.spent(camera.name, begin, end, most_steps=_MOST_STEPS)
        now = self._ledger.spent(camera.name, end - 1, end)
        return replace(
            view,
            left_now_nano=policy.epsilon_nano - now(end - 1),
            left_min_nano=policy.epsilon_nano - spent.maximum(),
        )


def _window(name: str, recorded: tuple[int, int] | None, from_us: int | None, to_us: int | None) -> tuple[int, int]:
    """The window that was asked for; an end that was not given is that of the recording. Raises Refused."""
    begin = from_us if from_us is not None else recorded[0] if recorded else None
    end = to_us if to_us is not None else recorded[1] if recorded else None
    if begin is None or end is None:
        raise Refused("invalid_request", f"nothing is recorded of {name}", "give both ends of the window")
    if begin >= end:
        raise Refused("invalid_request", "the window is empty", "its end must come after its beginning")
    return begin, end

"""From a query's text to a plan under the policies in force; nothing here touches video or budget."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from privid.domain.budget import Charge, Grid, joined
from privid.domain.policy import TIMINGS, CameraPolicy, Isolation, Timing
from privid.engine import isolation
from privid.engine.access import Access, access_of
from privid.engine.errors import CannotEnforce, NoVideo
from privid.engine.lanes import Lanes
from privid.engine.seen import views_of
from privid.ledger.policies import Policies
from privid.ledger.values import Place
from privid.privacy.certificate import Certificate, certify, slot_cores
from privid.video.catalog import Catalog
from privid.video.pictures import PictureStore
from query_lang import CameraSchema, compile_script
from query_lang import Catalog as Names
from query_lang.logical import Process, Script


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked query, or one window of a series: what it means, what it costs, under which policy versions.

    `policies` and `executables` hold those that the query names, models among them; `default_epsilon_nano` and
    `horizon_us` are those of the request.
    """

    text: str
    default_epsilon_nano: int
    script: Script
    certificate: Certificate
    policies: Mapping[str, CameraPolicy]
    executables: Mapping[str, str]
    horizon_us: int | None

    @property
    def timing(self) -> Timing:
        """The strictest of all cameras that the query reads."""
        return max((policy.timing for policy in self.policies.values()), key=TIMINGS.index)

    def slot_cores(self, process: Process) -> int:
        """How many of its slots run at a time."""
        return slot_cores(process.split.camera, self.policies)

    @property
    def epsilon_nano(self) -> int:
        """What all its SELECTs ask for together."""
        return sum(self._select_epsilon(select.epsilon_nano) for select in self.script.selects)

    @property
    def cache_key(self) -> str:
        """The identity of the question (privacy-model.md, section 6): equal keys share one release."""
        identity = {
            "canonical": self.script.canonical,
            "epsilons": [self._select_epsilon(select.epsilon_nano) for select in self.script.selects],
            "policies": {name: policy.version for name, policy in self.policies.items()},
            "executables": dict(self.executables),
        }
        return hashlib.sha256(_json(identity).encode()).hexdigest()

    def document(self) -> str:
        """What is needed to plan the same query again after a restart."""
        return _json(
            {
                "policies": {name: policy.version for name, policy in self.policies.items()},
                "executables": dict(self.executables),
                "horizon_us": self.horizon_us,
                "window": self.script.window,
            }
        )

    def scaled(self, share: Fraction) -> "Plan":
        """The same query with every SELECT's epsilon multiplied by `share`. Raises QueryError if that is too little."""
        selects = tuple(
            replace(select, epsilon_nano=int(self._select_epsilon(select.epsilon_nano) * share))
            for select in self.script.selects
        )
        script = replace(self.script, selects=selects)
        return replace(self, script=script, certificate=certify(script, self.policies, self.default_epsilon_nano))

    @property
    def grid(self) -> Grid | None:
        """The chunks that all its SPLITs have in common; None if they differ."""
        grids = {
            Grid(split.begin_us, split.chunk_us, split.period_us, split.count)
            for split in (process.split for process in self.script.processes)
        }
        return grids.pop() if len(grids) == 1 else None

    def narrowed(self, begin_us: int, end_us: int) -> "Plan":
        """The same query over another window. Raises QueryError for what that window does not allow."""
        processes = tuple(
            replace(process, split=replace(process.split, begin_us=begin_us, end_us=end_us))
            for process in self.script.processes
        )
        script = replace(self.script, processes=processes)
        return replace(self, script=script, certificate=certify(script, self.policies, self.default_epsilon_nano))

    def _select_epsilon(self, consuming_nano: int | None) -> int:
        return self.default_epsilon_nano if consuming_nano is None else consuming_nano


@dataclass(frozen=True, slots=True)
class Series:
    """A query with EVERY: one plan for each window, all calibrated to go together (privacy-model.md, section 5).

    `script` is the plan of all its time.
    """

    script: Script
    windows: tuple[Plan, ...]

    @property
    def every_us(self) -> int:
        """The length of a window."""
        assert self.script.every_us is not None
        return self.script.every_us

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What all windows together take."""
        return tuple(joined(charge for window in self.windows for charge in window.certificate.charges))

    def scaled(self, share: Fraction) -> "Series":
        """The same series with every epsilon multiplied by `share`. Raises QueryError if that is too little."""
        return replace(self, windows=tuple(window.scaled(share) for window in self.windows))


class Planner:
    """Plans queries for analysts, and plans admitted ones again."""

    def __init__(
        self,
        database: sa.Engine,
        policies: Policies,
        video: Catalog,
        pictures: PictureStore,
        lanes: Lanes,
        clock: Callable[[], int],
    ) -> None:
        self._database = database
        self._policies = policies
        self._video = video
        self._pictures = pictures
        self._lanes = lanes
        self._clock = clock

    def plan(
        self, analyst_id: int, text: str, default_epsilon_nano: int, horizon_us: int | None = None
    ) -> Plan | Series:
        """The plan of a new query. `horizon_us` stands for the HORIZON of an END NEVER that has none.

        Raises QueryError for whatever is wrong with the text, CannotEnforce for a policy term that this host or version
        cannot keep, NoVideo for a window that has passed without any video; StoreFailure.
        """
        access = access_of(self._database, analyst_id)
        policies = {name: p for name, p in self._policies.all_current().items() if name in access.cameras}
        asked = _Asked(text, default_epsilon_nano, horizon_us, access.executables)
        names = self._names(policies, asked.executables)
        script = compile_script(text, names, horizon_us=horizon_us)
        for process in script.processes:
            if process.model is not None and process.executable in access.programs:
                raise CannotEnforce(
                    f"{process.executable} is a program and no Python: it cannot call the model {process.model}",
                    "leave WITH MODEL out, or call the model from Python",
                )
        if script.every_us is None:
            plan = self._planned(script, asked, policies)
            self._require_enforceable(plan, access)
            self._require_video(plan)
            return plan
        scripts = (
            compile_script(text, names, horizon_us=horizon_us, window=window) for window in range(script.windows)
        )
        windows = tuple(self._planned(one, asked, policies) for one in scripts)
        self._require_enforceable(windows[0], access)
        return Series(script, windows)

    def price(self, text: str, default_epsilon_nano: int) -> tuple[Charge, ...]:
        """What a query takes from its cameras, whoever asks it and whatever its executables do. Raises QueryError."""
        policies = self._policies.all_current()
        names = self._names(policies, None)
        script = compile_script(text, names)
        windows = [None] if script.every_us is None else range(script.windows)
        scripts = (script if window is None else compile_script(text, names, window=window) for window in windows)
        certificates = (certify(one, policies, default_epsilon_nano) for one in scripts)
        return tuple(joined(charge for certificate in certificates for charge in certificate.charges))

    def again(self, text: str, default_epsilon_nano: int, document: str, place: Place | None = None) -> Plan:
        """The plan of an admitted query, from what `Plan.document` kept.

        A window that another series has reserved is at its own `place` in the series whose text this is.
        """
        kept: dict[str, Any] = json.loads(document)
        if place is not None:
            kept |= {"horizon_us": place.horizon_us, "window": place.position}
        policies = {
            name: next(p for p in self._policies.versions(name) if p.version == version)
            for name, version in kept["policies"].items()
        }
        return self._under(policies, text, default_epsilon_nano, kept)

    def renewed(
        self, policies: Mapping[str, CameraPolicy], text: str, default_epsilon_nano: int, document: str
    ) -> Plan:
        """The plan of an admitted query under newer policies. Raises QueryError or CannotEnforce."""
        plan = self._under(policies, text, default_epsilon_nano, json.loads(document))
        self._require_enforceable(plan)
        return plan

    def _under(
        self, policies: Mapping[str, CameraPolicy], text: str, default_epsilon_nano: int, kept: Mapping[str, Any]
    ) -> Plan:
        # Queries that were admitted before there were standing ones have neither a horizon nor a window.
        asked = _Asked(text, default_epsilon_nano, kept.get("horizon_us"), kept["executables"])
        names = self._names(policies, asked.executables)
        script = compile_script(text, names, horizon_us=asked.horizon_us, window=kept.get("window"))
        return self._planned(script, asked, policies)

    def _names(self, policies: Mapping[str, CameraPolicy], executables: Mapping[str, str] | None) -> Names:
        return Names({name: self._schema(name, policy) for name, policy in policies.items()}, executables)

    def _planned(self, script: Script, asked: "_Asked", policies: Mapping[str, CameraPolicy]) -> Plan:
        read = {process.split.camera: policies[process.split.camera] for process in script.processes}
        names = {name for process in script.processes for name in (process.executable, process.model) if name}
        used = {name: asked.executables[name] for name in names}
        certificate = certify(script, read, asked.default_epsilon_nano)
        return Plan(asked.text, asked.default_epsilon_nano, script, certificate, read, used, asked.horizon_us)

    def _schema(self, name: str, policy: CameraPolicy) -> CameraSchema:
        width, height = self._video.frame_size(name) or (policy.width or None, policy.height or None)
        return CameraSchema(
            name=name,
            timezone=policy.timezone,
            masks=tuple(policy.masks),
            regions={scheme: regions.names for scheme, regions in policy.regions.items()},
            width=width,
            height=height,
            fps=policy.fps,
        )

    def walls(self, analyst_id: int, plan: Plan) -> dict[str, Isolation]:
        """The backend that the slots of each PROCESS get on this host, by its table. Raises CannotEnforce."""
        access = access_of(self._database, analyst_id)
        return {process.name: self._walls(process, plan, access) for process in plan.script.processes}

    @staticmethod
    def _walls(process: Process, plan: Plan, access: Access | None) -> Isolation:
        return isolation.require(
            plan.policies[process.split.camera].isolation,
            process.timeout_us,
            program=access is not None and process.executable in access.programs,
            model=process.model is not None,
            libraries=access.libraries.get(process.executable, ()) if access is not None else (),
        )

    def _require_enforceable(self, plan: Plan, access: Access | None = None) -> None:
        for process in plan.script.processes:
            self._lanes.cores(plan.timing, plan.slot_cores(process))
            self._walls(process, plan, access)
            views_of(process.split, plan.policies[process.split.camera], self._pictures)

    def _require_video(self, plan: Plan) -> None:
        for process in plan.script.processes:
            split = process.split
            spans = self._video.coverage(split.camera, split.begin_us, split.end_us)
            if split.end_us <= self._clock() and all(span.state == "unknown" for span in spans):
                raise NoVideo(
                    f"camera {split.camera} has recorded nothing between BEGIN and END of {split.name}",
                    "see what it has recorded: privid cameras",
                )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, and the executables that it may name."""

    text: str
    default_epsilon_nano: int
    horizon_us: int | None
    executables: Mapping[str, str]


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))

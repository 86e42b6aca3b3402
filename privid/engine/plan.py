"""From a query's text to a plan under the policies in force; nothing here touches video or budget."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from privid.domain.policy import TIMINGS, CameraPolicy, Timing
from privid.engine.access import access_of
from privid.engine.errors import LimitExceeded, NoVideo
from privid.engine.lanes import Lanes
from privid.ledger.policies import Policies
from privid.privacy.certificate import Certificate, certify
from privid.video.catalog import Catalog
from query_lang import CameraSchema, compile_script
from query_lang import Catalog as Names
from query_lang.logical import Process, Script


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked query: what it means, what it costs, under which policy versions.

    `policies` and `executables` hold those that the query names; `default_epsilon_nano` is that of the request.
    """

    text: str
    default_epsilon_nano: int
    script: Script
    certificate: Certificate
    policies: Mapping[str, CameraPolicy]
    executables: Mapping[str, str]
    planned_us: int

    @property
    def timing(self) -> Timing:
        """The strictest of all cameras that the query reads."""
        return max((policy.timing for policy in self.policies.values()), key=TIMINGS.index)

    def slot_cores(self, process: Process) -> int:
        """How many of its slots run at a time."""
        return self.policies[process.split.camera].slot_cores

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
                "planned_us": self.planned_us,
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

    def _select_epsilon(self, consuming_nano: int | None) -> int:
        return self.default_epsilon_nano if consuming_nano is None else consuming_nano


class Planner:
    """Plans queries for analysts, and plans admitted ones again."""

    def __init__(
        self, database: sa.Engine, policies: Policies, video: Catalog, lanes: Lanes, clock: Callable[[], int]
    ) -> None:
        self._database = database
        self._policies = policies
        self._video = video
        self._lanes = lanes
        self._clock = clock

    def plan(self, analyst_id: int, text: str, default_epsilon_nano: int) -> Plan:
        """The plan of a new query.

        Raises QueryError for whatever is wrong with the text, CannotEnforce for a policy term that this host or version
        cannot keep, NoVideo for a window without any video, LimitExceeded for more than the analyst may ask.
        """
        access = access_of(self._database, analyst_id)
        policies = {name: p for name, p in self._policies.all_current().items() if name in access.cameras}
        plan = self._compile(text, default_epsilon_nano, policies, access.executables, self._clock())
        if access.epsilon_limit_nano is not None and plan.epsilon_nano > access.epsilon_limit_nano:
            raise LimitExceeded(
                f"the query asks for epsilon {plan.epsilon_nano / 1e9:g}, "
                f"and {access.epsilon_limit_nano / 1e9:g} is the most that one query of yours may ask",
                "ask for less with CONSUMING, or ask the owner to raise the limit",
            )
        self._require_enforceable(plan)
        self._require_video(plan)
        return plan

    def again(self, text: str, default_epsilon_nano: int, document: str) -> Plan:
        """The plan of an admitted query, from what `Plan.document` kept."""
        kept: dict[str, Any] = json.loads(document)
        policies = {
            name: next(p for p in self._policies.versions(name) if p.version == version)
            for name, version in kept["policies"].items()
        }
        return self._compile(text, default_epsilon_nano, policies, kept["executables"], kept["planned_us"])

    def _compile(
        self,
        text: str,
        default_epsilon_nano: int,
        policies: Mapping[str, CameraPolicy],
        executables: Mapping[str, str],
        now_us: int,
    ) -> Plan:
        names = Names({name: self._schema(name, policy) for name, policy in policies.items()}, executables)
        script = compile_script(text, names, now_us=now_us)
        read = {process.split.camera: policies[process.split.camera] for process in script.processes}
        used = {process.executable: executables[process.executable] for process in script.processes}
        certificate = certify(script, read, default_epsilon_nano)
        return Plan(text, default_epsilon_nano, script, certificate, read, used, now_us)

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

    def _require_enforceable(self, plan: Plan) -> None:
        for process in plan.script.processes:
            self._lanes.cores(plan.timing, plan.slot_cores(process))

    def _require_video(self, plan: Plan) -> None:
        for process in plan.script.processes:
            split = process.split
            spans = self._video.coverage(split.camera, split.begin_us, split.end_us)
            if all(span.state == "unknown" for span in spans):
                raise NoVideo(
                    f"camera {split.camera} has recorded nothing between BEGIN and END of {split.name}",
                    "see what it has recorded: privid cameras",
                )


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))

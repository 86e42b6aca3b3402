"""How the recorder is doing, over HTTP: /healthz, /status (JSON) and /metrics (Prometheus). Names no address."""

import json
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from privid.domain.units import SECOND

Status = Callable[[], dict[str, Any]]


class _Metrics(Collector):
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """The state of every camera as metrics."""
        status = self._status()
        now = status["now_us"]
        yield GaugeMetricFamily(
            "privid_ingest_disk_free_bytes", "Left on the store's disk", value=status["disk_free_bytes"]
        )
        spool = status["spool"] or {"size_bytes": 0}
        yield GaugeMetricFamily("privid_ingest_spool_bytes", "Waiting for a store elsewhere", value=spool["size_bytes"])
        yield GaugeMetricFamily(
            "privid_ingest_clock_step_seconds",
            "A step of the clock, not yet believed",
            value=status["clock_step_us"] / SECOND,
        )
        removed = CounterMetricFamily("privid_ingest_removed_bytes", "Removed by retention")
        removed.add_metric([], status["retention"]["removed_bytes"])
        yield removed
        yield GaugeMetricFamily(
            "privid_ingest_blocked_bytes",
            "Should have been removed, but queries need it",
            value=status["retention"]["blocked_bytes"],
        )
        gauges: dict[str, tuple[str, Callable[[dict[str, Any]], float | None]]] = {
            "recording": ("1 while video comes in and is kept", lambda c: float(c["healthy"])),
            "lag_seconds": (
                "Since the last packet",
                lambda c: None if c["last_packet_us"] is None else (now - c["last_packet_us"]) / SECOND,
            ),
            "stored_lag_seconds": (
                "Since the end of what queries can read",
                lambda c: None if c["recorded_until_us"] is None else (now - c["recorded_until_us"]) / SECOND,
            ),
            "clock_offset_seconds": ("Recorded time less the clock's", lambda c: c["offset_us"] / SECOND),
            "waiting_segments": ("Recorded, not yet stored", lambda c: c["unpublished"]),
            "conflicts": ("Segments kept aside, their time was taken", lambda c: c["conflicts"]),
        }
        counters = {
            "gaps": "Interruptions",
            "connections": "Connections made",
            "packets": "Packets received",
            "frames": "Frames stored",
            "segments": "Segments stored",
            "received_bytes": "Bytes received",
            "stored_bytes": "Bytes written",
        }
        for name, (text, value_of) in gauges.items():
            gauge = GaugeMetricFamily(f"privid_ingest_{name}", text, labels=["camera"])
            for camera in status["cameras"]:
                value = value_of(camera)
                if value is not None:
                    gauge.add_metric([camera["camera"]], value)
            yield gauge
        for name, text in counters.items():
            counter = CounterMetricFamily(f"privid_ingest_{name}", text, labels=["camera"])
            for camera in status["cameras"]:
                counter.add_metric([camera["camera"]], camera[name])
            yield counter
        failures = CounterMetricFamily("privid_ingest_failures", "Failures by reason", labels=["camera", "reason"])
        for camera in status["cameras"]:
            for reason, count in camera["failures"].items():
                failures.add_metric([camera["camera"], reason], count)
        yield failures


def serve(host: str, port: int, status: Status) -> ThreadingHTTPServer:
    """A server, not yet running. Raises OSError if it cannot listen there."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(status))

    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0

        def do_GET(self) -> None:
            """Answer one of the three."""
            match self.path.split("?")[0]:
                case "/healthz":
                    found = status()
                    bad = [camera["camera"] for camera in found["cameras"] if not camera["healthy"]]
                    text = "ok" if found["healthy"] else "not recorded: " + (", ".join(bad) or "the disk is full")
                    self._send(200 if found["healthy"] else 503, "text/plain; charset=utf-8", f"{text}\n".encode())
                case "/status":
                    self._send(200, "application/json", json.dumps(status()).encode())
                case "/metrics":
                    self._send(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                case _:
                    self._send(404, "text/plain; charset=utf-8", b"there is /healthz, /status and /metrics\n")

        def _send(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Requests are not logged."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    return server

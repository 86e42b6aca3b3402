"""`privid-admin export` and `import`: everything but video and answers as files, and back without lowering a ledger."""

import hashlib
import json as json_format
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf import json_format as protobuf_json

from privid.cli.admin_audit import read_entries, verify_entries, write_entries
from privid.cli.config import owner_target
from privid.cli.confirm import Yes, confirm
from privid.cli.terminal import InputError, Json, print_json, stdout
from privid.client import OwnerClient
from privid.client.values import AuditHead, Camera
from privid.domain.policy import CameraPolicy
from privid.domain.policy_document import from_document, to_document
from privid.rpc.v1 import admin_pb2

_FORMAT = 1
_MANIFEST, _CAMERAS, _ANALYSTS, _LEDGER, _AUDIT = (
    "manifest.json",
    "cameras.json",
    "analysts.json",
    "ledger.jsonl",
    "audit.jsonl",
)
_POLICIES, _PICTURES = "policies", "pictures"
_HINT = "name a folder that privid-admin export wrote"


# --- out ----------------------------------------------------------------------------------------------------


def export_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or an empty folder.")], json: Json = False
) -> None:
    """Write cameras, policies, analysts, charges and the audit log as files with their digests.

    No video, executables, answers or tokens. A live source's address may hold a password: keep DIR to yourself.

    \b
    $ privid-admin export /backup/privid-2026-12-01
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError("not_empty", f"{folder} is not empty", "name a new folder")
        with OwnerClient(owner_target()) as client:
            manifest = _write_all(client, folder)
    except OSError as error:
        raise InputError("unwritable", f"cannot write {folder}: {error.strerror}", "choose another folder") from None
    if json:
        print_json({"folder": str(folder)} | manifest)
        return
    audit = manifest["audit"]
    stdout().print(
        f"wrote {folder}: {len(manifest['files'])} files; head of the audit log {audit['entries']}:{audit['hash']}",
        markup=False,
    )


def _write_all(client: OwnerClient, folder: Path) -> dict[str, Any]:
    """What charges refer to is read after them, so that all of it is there."""
    with (folder / _LEDGER).open("w", encoding="utf-8") as lines:
        for record in client.records():
            lines.write(_line(protobuf_json.MessageToDict(record, preserving_proto_field_name=True)))
    analysts = [
        {
            "name": analyst.name,
            "cameras": list(analyst.cameras),
            "epsilon_limit_nano": analyst.epsilon_limit_nano,
            "revoked": analyst.revoked_us is not None,
        }
        for analyst in client.analysts()
    ]
    cameras = client.cameras()
    (folder / _POLICIES).mkdir()
    (folder / _PICTURES).mkdir()
    for camera in cameras:
        versions = client.policy_history(camera.name)
        if versions:
            documents = [json_format.loads(to_document(policy)) for policy in versions]
            _dump(folder / _POLICIES / f"{camera.name}.json", {"camera": camera.name, "versions": documents})
        for digest in {digest for policy in versions for digest in _pictures(policy)}:
            (folder / _PICTURES / f"{digest}.pbm").write_bytes(client.picture(digest))
    _dump(folder / _ANALYSTS, analysts)
    _dump(folder / _CAMERAS, [{"name": c.name, "timezone": c.timezone, "url": c.url} for c in cameras])
    head = write_entries(client, folder / _AUDIT)
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {
        "format": _FORMAT,
        "written_us": time.time_ns() // 1000,
        "audit": {"entries": head.entries, "hash": head.hash},
        "files": files,
    }
    _dump(folder / _MANIFEST, manifest)
    return manifest


def _pictures(policy: CameraPolicy) -> Iterator[str]:
    """The digests of the pictures that a policy names."""
    yield from (mask.picture for mask in policy.masks.values() if mask.picture)
    yield from (scheme.picture for scheme in policy.regions.values() if scheme.picture)


def _line(value: Any) -> str:
    return json_format.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def _dump(path: Path, value: Any) -> None:
    path.write_text(json_format.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


# --- in -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Archive:
    """A folder whose files are all as they were written."""

    folder: Path
    head: AuditHead
    cameras: list[dict[str, Any]]
    policies: Mapping[str, list[CameraPolicy]]
    analysts: list[dict[str, Any]]

    def records(self) -> Iterator[admin_pb2.LedgerRecord]:
        """Queries with their charges. Raises InputError."""
        for number, line in enumerate((self.folder / _LEDGER).read_text(encoding="utf-8").splitlines(), 1):
            try:
                yield protobuf_json.Parse(line, admin_pb2.LedgerRecord())
            except protobuf_json.ParseError as error:
                raise InputError("not_an_export", f"{_LEDGER}, line {number}: {error}", _HINT) from None

    def pictures(self, policy: CameraPolicy) -> list[bytes]:
        """Those that a policy names."""
        return [(self.folder / _PICTURES / f"{digest}.pbm").read_bytes() for digest in _pictures(policy)]


@dataclass(frozen=True, slots=True)
class _Changes:
    """What importing would do; whatever is there already is kept as it is."""

    cameras: list[dict[str, Any]]
    policies: Mapping[str, list[CameraPolicy]]
    kept_policies: list[str]
    analysts: list[dict[str, Any]]
    added: int
    known: int

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "cameras": [camera["name"] for camera in self.cameras],
            "policies": {name: len(versions) for name, versions in self.policies.items()},
            "kept_policies": self.kept_policies,
            "analysts": [analyst["name"] for analyst in self.analysts],
            "charged_queries": {"added": self.added, "known": self.known},
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        for camera in self.cameras:
            yield f"+ camera {camera['name']}"
        for name, versions in self.policies.items():
            yield f"+ policy of {name}, {len(versions)} version{'s' if len(versions) != 1 else ''}"
        for name in self.kept_policies:
            yield f"  {name} keeps its own policy, which differs"
        for analyst in self.analysts:
            yield f"+ analyst {analyst['name']}, without a token"
        if self.added:
            yield f"+ charges of {self.added} queries"
        if self.known:
            yield f"  charges of {self.known} queries are in the ledger already"

    @property
    def any(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.cameras or self.policies or self.analysts or self.added)


def import_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="As export wrote it.")],
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Add what a folder of export has and this server has not. Nothing is replaced, and no budget gets larger.

    Charges that are missing are taken, for ever. Analysts come without tokens: analyst rotate makes new ones.

    \b
    $ privid-admin import /backup/privid-2026-12-01
    """
    archive = _read_all(folder)
    with OwnerClient(owner_target()) as client:
        changes = _compare(client, archive)
        if not json:
            for line in changes.lines():
                stdout().print(line, markup=False)
        if changes.any:
            confirm("import?", yes=yes, json=json)
            _apply(client, archive, changes)
    if json:
        print_json({"applied": changes.any} | changes.document())
    else:
        stdout().print("imported" if changes.any else "nothing to import", markup=False)


def _read_all(folder: Path) -> _Archive:
    """Raises InputError for a folder of which anything is missing or was changed."""
    manifest = _load(folder / _MANIFEST, dict)
    if manifest.get("format") != _FORMAT:
        raise InputError("not_an_export", f"{folder / _MANIFEST}: not of format {_FORMAT}", _HINT)
    try:
        for name, digest in manifest["files"].items():
            path = folder / name
            if ".." in path.parts or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise InputError(
                    "not_as_written", f"{path} is not as it was written", "take another copy of the export"
                )
        head = AuditHead(int(manifest["audit"]["entries"]), str(manifest["audit"]["hash"]))
        policies = {
            path.stem: [
                from_document(json_format.dumps(document), version)
                for version, document in enumerate(_load(path, dict)["versions"], 1)
            ]
            for path in (folder / name for name in manifest["files"])
            if path.parent == folder / _POLICIES
        }
    except OSError as error:
        raise InputError("not_as_written", f"cannot read {error.filename}: {error.strerror}", _HINT) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError("not_an_export", f"{folder}: {error}", _HINT) from None
    report = verify_entries(read_entries(folder / _AUDIT), head)
    if report.problem is not None or report.head != head:
        problem = report.problem or "is not the one that the manifest names"
        raise InputError("not_as_written", f"{folder / _AUDIT}: entry {report.seq or head.entries} {problem}", _HINT)
    return _Archive(folder, head, _load(folder / _CAMERAS, list), policies, _load(folder / _ANALYSTS, list))


def _load(path: Path, kind: type) -> Any:
    try:
        value = json_format.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("not_an_export", f"cannot read {path}: {error}", _HINT) from None
    if not isinstance(value, kind):
        raise InputError("not_an_export", f"{path} is not what export writes", _HINT)
    return value


def _compare(client: OwnerClient, archive: _Archive) -> _Changes:
    here: dict[str, Camera] = {camera.name: camera for camera in client.cameras()}
    people = {analyst.name for analyst in client.analysts()}
    policies: dict[str, list[CameraPolicy]] = {}
    kept = []
    for name, versions in archive.policies.items():
        current = here[name].policy if name in here else None
        if current is None:
            policies[name] = versions
        elif to_document(current) != to_document(versions[-1]):
            kept.append(name)
    added, known = client.take_records(archive.records(), "", preview=True)
    return _Changes(
        cameras=[camera for camera in archive.cameras if camera["name"] not in here],
        policies=policies,
        kept_policies=kept,
        analysts=[analyst for analyst in archive.analysts if analyst["name"] not in people],
        added=added,
        known=known,
    )


def _apply(client: OwnerClient, archive: _Archive, changes: _Changes) -> None:
    for camera in changes.cameras:
        client.add_camera(camera["name"], camera["timezone"], camera["url"])
    for name, versions in changes.policies.items():
        for policy in versions:
            # Every version in its turn: the ledger remembers the masks of all of them.
            pictures = archive.pictures(policy)
            client.apply({name: policy}, client.preview({name: policy}, pictures).confirmation, pictures)
    for analyst in changes.analysts:
        client.add_analyst(analyst["name"], analyst["cameras"], analyst["epsilon_limit_nano"])
        if analyst["revoked"]:
            client.revoke_analyst(analyst["name"])
    client.take_records(archive.records(), f"audit {archive.head.entries}:{archive.head.hash}", preview=False)

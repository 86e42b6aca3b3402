"""The committed stubs are what protos/ gives."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_stubs_do_not_drift_from_the_protos():
    pytest.importorskip("grpc_tools", reason="needs the extra `dev`")
    script = ROOT / "scripts" / "generate_stubs.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stubs_are_imported_by_the_package_path():
    from privid.rpc.v1 import admin_pb2_grpc, query_pb2, query_pb2_grpc, types_pb2

    assert query_pb2.DESCRIPTOR.package == "privid.rpc.v1"
    assert types_pb2.Error(code="x").code == "x"
    assert query_pb2_grpc.QueryServiceStub
    assert admin_pb2_grpc.AdminServiceStub

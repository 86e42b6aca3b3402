"""TLS and client certificates, with certificates made on the spot."""

import subprocess

import pytest

from privid.client import CallFailed, Client, OwnerClient, Target
from privid.testing.services import running_server


def openssl(*arguments, cwd):
    subprocess.run(["openssl", *map(str, arguments)], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test ca", cwd=folder)
    (folder / "names").write_text("subjectAltName = DNS:localhost, IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}", cwd=folder)
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-out", f"{name}.pem", "-extfile", "names"),
            cwd=folder,
        )
    return folder


def test_with_tls_a_client_needs_the_authority(certificates, tmp_path):
    with running_server(
        tmp_path / "home",
        listen="0.0.0.0:0",
        tls_cert=certificates / "server.pem",
        tls_key=certificates / "server.key",
    ) as server:
        port = server.addresses.analysts.rpartition(":")[2]
        ca = certificates / "ca.pem"
        with OwnerClient(Target(f"https://{server.addresses.owners}", server.owner_token, ca=ca)) as owner:
            _, token = owner.add_analyst("transport", [])
        with Client(Target(f"https://localhost:{port}", token, ca=ca)) as client:
            assert client.cameras() == ()
        for target in (Target(f"https://localhost:{port}", token), Target(f"http://127.0.0.1:{port}", token)):
            with Client(target) as client, pytest.raises(CallFailed) as error:
                client.cameras()
            assert error.value.code == "unavailable"


def test_with_a_client_authority_a_token_alone_is_not_enough(certificates, tmp_path):
    with running_server(
        tmp_path / "home",
        tls_cert=certificates / "server.pem",
        tls_key=certificates / "server.key",
        tls_client_ca=certificates / "ca.pem",
    ) as server:
        address, ca = f"https://{server.addresses.owners}", certificates / "ca.pem"
        with OwnerClient(Target(address, server.owner_token, ca=ca)) as owner, pytest.raises(CallFailed):
            owner.cameras()
        known = Target(
            address,
            server.owner_token,
            ca=ca,
            client_cert=certificates / "client.pem",
            client_key=certificates / "client.key",
        )
        with OwnerClient(known) as owner:
            assert owner.cameras() == ()

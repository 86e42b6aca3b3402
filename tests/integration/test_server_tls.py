"""TLS and client certificates, with certificates made on the spot."""

import pytest

from privid.client import CallFailed, Client, OwnerClient, Target
from privid.testing.services import running_server
from tests.support.tls import make_authority, make_certificate


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    make_authority(folder)
    for name in ("server", "client"):
        make_certificate(folder, name)
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

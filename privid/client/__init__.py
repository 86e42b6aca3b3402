"""Python clients of the server: `Client` for analysts, `OwnerClient` for owners.

with Client(Target("https://privid.city.example", token)) as client:
    submission = client.submit(text)
"""

from privid.client.analyst import Client, new_request_id
from privid.client.connection import Target
from privid.client.errors import BadAddress, CallFailed, Refusal
from privid.client.owner import OwnerClient

__all__ = ["BadAddress", "CallFailed", "Client", "OwnerClient", "Refusal", "Target", "new_request_id"]

"""The server's settings: PRIVID_* environment variables, or options of `privid-server run`."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from privid.domain.addresses import is_loopback
from privid.domain.home import Home
from privid.domain.units import nano_epsilon
from workers.inference.runtime import check_device

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:\[\]\s]+):(?P<port>\d{1,5})")


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[ipv6]:port`. Raises ValueError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"{text!r} is not an address; write HOST:PORT, such as 127.0.0.1:7741")
    return match["host"].strip("[]"), int(match["port"])


def _address(text: str) -> str:
    split_address(text)
    return text


Address = Annotated[str, AfterValidator(_address)]


class Settings(BaseSettings):
    """Everything that a server can be told. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="PRIVID_", frozen=True, extra="ignore")

    home: Path = Field(default_factory=lambda: Home.from_environment().root)
    """The data directory; made if it is not there, readable by its user alone."""
    database_url: str | None = None
    """SQLAlchemy URL; by default the SQLite file under `home`."""
    listen: Address = "127.0.0.1:7741"
    """Where analysts reach the server, HOST:PORT; without TLS on this machine only."""
    admin_listen: Address = "127.0.0.1:7742"
    """Where owners reach it."""
    tls_cert: Path | None = None
    """Certificate chain of the server, PEM."""
    tls_key: Path | None = None
    """Its key, PEM."""
    tls_client_ca: Path | None = None
    """With it, clients need a certificate signed by it, besides their token."""
    restored: bool = False
    """After a database was restored from a copy: serve owners only, so that they can import what was spent since."""
    default_epsilon: Annotated[float, Field(gt=0)] = 1.0
    """Of a SELECT without CONSUMING, when the request names none."""
    slot_cores: Annotated[int, Field(ge=0)] | None = None
    """Cores that slotted work has to itself; by default half of what the server may use."""
    inference_device: Annotated[str, AfterValidator(check_device)] = "auto"
    """Where models run: auto, cpu, cuda:0 or rocm:0. auto: a GPU if the library that runs a model can use one."""
    window_delay_seconds: Annotated[float, Field(ge=0)] = 60.0
    """From the END of a window in the future until it runs on what is stored by then, whatever that is."""
    max_query_bytes: Annotated[int, Field(gt=0)] = 64 * 1024
    """Largest text of a query."""
    max_upload_bytes: Annotated[int, Field(gt=0)] = 128 * 1024 * 1024
    """Largest executable, weights included."""
    max_executables_bytes: Annotated[int, Field(gt=0)] = 4 * 1024 * 1024 * 1024
    """All versions of all executables of one analyst together."""
    max_guest_memory_bytes: Annotated[int, Field(gt=0)] = 2 * 1024 * 1024 * 1024
    """Most memory that an executable may declare."""
    max_guest_threads: Annotated[int, Field(gt=0)] = 4
    """Most threads that an executable may declare; a slot has one core."""
    max_call_seconds: Annotated[float, Field(gt=0)] = 60.0
    """For every call but Watch, whatever deadline the client asks for; five times as long for an upload."""
    max_watches: Annotated[int, Field(gt=0)] = 16
    """Streams that one analyst may have open at once."""
    tick_seconds: Annotated[float, Field(gt=0)] = 1.0
    """Between two messages of a Watch."""

    @model_validator(mode="after")
    def _safe_to_serve(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS needs both a certificate (PRIVID_TLS_CERT) and its key (PRIVID_TLS_KEY)")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("PRIVID_TLS_CLIENT_CA needs PRIVID_TLS_CERT and PRIVID_TLS_KEY")
        if self.tls_cert is None:
            for address in (self.listen, self.admin_listen):
                if not is_loopback(split_address(address)[0]):
                    raise ValueError(
                        f"{address} can be reached from other machines, and there is no TLS: set PRIVID_TLS_CERT and "
                        "PRIVID_TLS_KEY, or listen on 127.0.0.1"
                    )
        for path in (self.tls_cert, self.tls_key, self.tls_client_ca):
            if path is not None and not path.is_file():
                raise ValueError(f"{path} is not a file")
        return self

    @property
    def default_epsilon_nano(self) -> int:
        """`default_epsilon` as the ledger counts it."""
        return nano_epsilon(self.default_epsilon)

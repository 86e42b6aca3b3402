"""Where an analyst's server and token are kept: $XDG_CONFIG_HOME/privid/config.toml, mode 0600."""

import json
import os
import tempfile
import tomllib
from pathlib import Path

from privid.cli.terminal import InputError
from privid.client import Target
from privid.domain.home import Home

_KEYS = ("server", "token", "ca", "client_cert", "client_key")
DEFAULT_SERVER = "127.0.0.1:7741"
DEFAULT_ADMIN_SERVER = "127.0.0.1:7742"


def config_path() -> Path:
    """The file; it need not exist."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "privid" / "config.toml"


def save(target: Target) -> Path:
    """Remember how a server is reached. Raises InputError."""
    values = {
        "server": target.address,
        "token": target.token,
        "ca": target.ca,
        "client_cert": target.client_cert,
        "client_key": target.client_key,
    }
    # A JSON string of printable characters is a TOML string.
    text = "".join(f"{key} = {json.dumps(str(value))}\n" for key, value in values.items() if value is not None)
    path = config_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=".config-", dir=path.parent)  # mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(scratch).replace(path)
    except OSError as error:
        raise InputError("unwritable", f"cannot write {path}: {error.strerror}", "check its folder") from None
    return path


def _load() -> dict[str, str]:
    path = config_path()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError("config", f"cannot read {path}: {error}", "log in again: privid login") from None
    for key, value in content.items():
        if key not in _KEYS or not isinstance(value, str):
            raise InputError("config", f"{path}: {key} is not a setting", f"known: {', '.join(_KEYS)}")
    return content


def analyst_target() -> Target:
    """From PRIVID_SERVER and PRIVID_TOKEN, else from the last login. Raises InputError."""
    stored = _load()
    server = os.environ.get("PRIVID_SERVER")
    if server and server != stored.get("server"):
        stored = {}  # a token is sent only to the server that it belongs to
    token = os.environ.get("PRIVID_TOKEN") or stored.get("token")
    address = server or stored.get("server") or DEFAULT_SERVER
    if not token:
        raise InputError(
            "not_logged_in", f"no token for {address}", f"privid login {address}, or set PRIVID_SERVER and PRIVID_TOKEN"
        )
    return Target(
        address,
        token.strip(),
        ca=_path("PRIVID_CA", stored.get("ca")),
        client_cert=_path("PRIVID_CLIENT_CERT", stored.get("client_cert")),
        client_key=_path("PRIVID_CLIENT_KEY", stored.get("client_key")),
    )


def owner_target() -> Target:
    """From PRIVID_ADMIN_SERVER and PRIVID_OWNER_TOKEN, else the token file of PRIVID_HOME. Raises InputError."""
    address = os.environ.get("PRIVID_ADMIN_SERVER") or DEFAULT_ADMIN_SERVER
    token = os.environ.get("PRIVID_OWNER_TOKEN")
    if not token:
        path = Home.from_environment().owner_token
        try:
            token = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise InputError(
                "no_owner_token",
                f"cannot read the owner's token from {path}",
                "start privid-server once, set PRIVID_HOME, or set PRIVID_OWNER_TOKEN",
            ) from None
    return Target(
        address,
        token.strip(),
        ca=_path("PRIVID_CA", None),
        client_cert=_path("PRIVID_CLIENT_CERT", None),
        client_key=_path("PRIVID_CLIENT_KEY", None),
    )


def _path(variable: str, stored: str | None) -> Path | None:
    text = os.environ.get(variable) or stored
    return Path(text).expanduser() if text else None

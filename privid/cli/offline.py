"""Planning without a server: a query against a published policy file. Nothing leaves this machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from privid.cli.terminal import InputError, read_text
from privid.domain.policy import CameraPolicy
from privid.owner.policy_file import PolicyFile, PolicyFileError, read_policy_file
from query_lang.schema import CameraSchema, Catalog


def load_policy_file(path: Path) -> PolicyFile:
    """Raises InputError."""
    text = read_text(path, "the policy file")
    try:
        return read_policy_file(text)
    except PolicyFileError as error:
        raise InputError("policy", f"{path}: {error}", "see the reference of policy files") from None


def explain(
    text: str, policy_path: Path, default_epsilon_nano: int | None, horizon_us: int | None = None
) -> dict[str, Any]:
    """The document of `privid explain --json`, `admissible` null. Raises QueryError or InputError."""
    from privid.privacy.certificate import certify
    from privid.privacy.explain import series_json, to_json
    from query_lang import compile_script

    file = load_policy_file(policy_path)
    names = Catalog(cameras=cameras(file.policies), executables=None)
    default = default_epsilon_nano or file.default_epsilon_nano
    script = compile_script(text, names, horizon_us=horizon_us)
    if script.every_us is None:
        return to_json(certify(script, file.policies, default), file.policies, None)
    windows = [
        certify(compile_script(text, names, horizon_us=horizon_us, window=window), file.policies, default)
        for window in range(script.windows)
    ]
    return series_json(script, windows, file.policies, None)


def cameras(policies: Mapping[str, CameraPolicy]) -> dict[str, CameraSchema]:
    """What queries can name of cameras, by their policies: masks and regions."""
    return {
        name: CameraSchema(
            name=name,
            timezone=policy.timezone,
            masks=tuple(policy.masks),
            regions={scheme: regions.names for scheme, regions in policy.regions.items()},
            width=policy.width or None,
            height=policy.height or None,
            fps=policy.fps,
        )
        for name, policy in policies.items()
    }


def named_executables(text: str) -> tuple[str, ...]:
    """The names after USING, each once, in the order written. Raises QueryError for a text that cannot be parsed."""
    from query_lang import nodes
    from query_lang.dialect import parse

    names = [statement.args["using"].name for statement in parse(text) if isinstance(statement, nodes.Process)]
    return tuple(dict.fromkeys(names))

# ruff: noqa: F821  appended to the families
LAST = ("orphan", "quota")
"""They leave little for what comes after them."""


def _every(kind, names):
    """What each of these gave back, where it was anything."""
    got = []
    for name in names:
        try:
            answer = globals()[f"{kind}_{name}"](CHUNK)
        except Exception as error:  # noqa: BLE001  it is said
            answer = type(error).__name__
        if answer:
            got.append(f"{name}: {answer}")
    return "; ".join(got)


def _pairs():
    names = [name.removeprefix("leave_") for name in globals() if name.startswith("leave_")]
    return sorted(names, key=lambda name: (name in LAST, name != "usage", name))


def process(chunk):
    """`chunk.camera` says what to do; `chunk.region` to whom, where that is several."""
    global CHUNK
    CHUNK = chunk
    kind, _, name = chunk.camera.partition(":")
    if kind == "honest":
        return [{"verdict": "honest", "value": float(chunk.frames.mean()), "flag": True}]
    if kind == "result":
        return globals()[f"result_{name}"](chunk)
    if kind == "secret":
        return [{"verdict": SECRET.hex()}]
    if kind == "many":
        got = _every(name, chunk.region.split(":") if chunk.region else _pairs())
    elif kind == "both":
        globals()[f"leave_{name}"](chunk)
        got = globals()[f"find_{name}"](chunk)
    else:
        got = globals()[f"{kind}_{name}"](chunk)
    return [{"verdict": f"through: {got}"[:200] if got else "stopped", "value": 1.0, "flag": True}]

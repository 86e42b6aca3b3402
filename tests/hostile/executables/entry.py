# ruff: noqa: F821  appended to the families
def process(chunk):
    """`chunk.camera` says what to do."""
    kind, _, name = chunk.camera.partition(":")
    if kind == "honest":
        return [{"verdict": "honest", "value": float(chunk.frames.mean()), "flag": True}]
    if kind == "result":
        return globals()[f"result_{name}"](chunk)
    if kind == "secret":
        return [{"verdict": SECRET.hex()}]
    got = globals()[f"{kind}_{name}"](chunk)
    return [{"verdict": f"through: {got}"[:200] if got else "stopped", "value": 1.0, "flag": True}]

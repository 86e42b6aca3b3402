"""What can go wrong on our side. None of it is a guest's doing: whatever a guest does ends in rows."""


class SandboxError(Exception):
    """Base of the failures of the sandbox itself."""


class SandboxUnavailable(SandboxError):
    """This host cannot give what the sandbox needs; the text says what is missing and what to do."""


class ExecutableRefused(SandboxError):
    """An executable whose weights cannot be loaded; the text says why. Any host would refuse it."""


class SandboxBroken(SandboxError):
    """The sandbox failed under a slot, and again when the slot was run once more. The slots can be run again later."""


class SlotsLate(SandboxError):
    """Some slots found no time in the whole schedule, because their frames were not ready. Nothing is wrong with them:
    they have no rows yet and can be run again. `count` is how many; `indices` those of them whose frames came at all.
    """

    def __init__(self, count: int, indices: tuple[int, ...]) -> None:
        super().__init__(f"{count} slots were not run: their frames were not ready in time, the reserve included")
        self.count = count
        self.indices = indices


class Stopped(SandboxError):
    """The run was stopped from outside before all its slots had their turn."""

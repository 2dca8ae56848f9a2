"""A verb's words: which of them go into the kernel under test, and what of them stays outside."""

from __future__ import annotations

from typing import Final

from kvmabi.errors import UsageError

RECORDING: Final = ("matrix",)
"""The verbs whose --json is a result, case by case; another's goes to its file unread."""
UNRECORDED: Final = frozenset({"--list", "--repro", "--help", "-h"})
"""The options with which such a verb writes no result either."""
NOT_INSIDE: Final = {
    "--resume": "--resume does not work in the lab",
    "--plot": "--plot does not work in the lab: the picture would be lost with the kernel",
}
"""Options that are refused, and why."""
JOBS: Final = 1
"""How many VMs side by side: deassign waits for nothing where there is one CPU, so more than one
would only hide which case the kernel's log speaks of."""


def inner_command(words: list[str]) -> tuple[list[str], str | None]:
    """Return the verb's words as they run inside, and the result file that stays outside."""
    if not words:
        raise UsageError("which verb is to run in there? For instance: kvmabi lab run -- matrix")
    if words[0] == "lab":
        raise UsageError("a lab inside a lab would need nested virtualisation twice over")
    kept, json = [], None
    rest = iter(words)
    for word in rest:
        if word == "--json":
            json = next(rest, None)
            if json is None:
                raise UsageError("--json needs a file")
        elif word.startswith("--json="):
            json = word.removeprefix("--json=")
        elif word.partition("=")[0] in NOT_INSIDE:
            raise UsageError(NOT_INSIDE[word.partition("=")[0]])
        else:
            kept.append(word)
    options = {word.partition("=")[0] for word in kept}
    if kept[0] in RECORDING and not options & UNRECORDED:
        if "--jobs" not in options:
            kept += ["--jobs", str(JOBS)]
        kept += ["--json", "@records"]
    elif json is not None:
        kept += ["--json", "-" if json == "-" else "@records"]
    return kept, json

"""A verb's words: which of them go into the kernel under test, and what of them stays outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kvmabi.errors import UsageError
from kvmabi.lab.inside.files import FOLDER
from kvmabi.verbs import make_parser

RECORDING: Final = ("matrix",)
"""The verbs whose --json is a result, case by case; another's goes to its file unread."""
UNRECORDED: Final = frozenset({"--list", "--repro", "--help", "-h"})
"""The options with which such a verb writes no result either."""
NO_VERBS: Final = {
    "lab": "a lab inside a lab would need nested virtualisation twice over",
    "compare": "compare asks nothing of a kernel, and its files are here: run it without a lab",
    "headers": "headers asks nothing of a kernel, and its files are here: run it without a lab",
}
"""Verbs that are refused, and why."""
NOT_INSIDE: Final = {
    "resume": "--resume does not work in the lab",
    "plot": "--plot does not work in the lab: the picture would be lost with the kernel",
}
"""Options that are refused, and why."""
READ: Final = {"guest": ("image",), "probe": ("report", "compare")}
"""What names a file that the verb reads, which is brought in."""
JOBS: Final = 1
"""How many VMs side by side: deassign waits for nothing where there is one CPU, so more than one
would only hide which case the kernel's log speaks of."""


@dataclass(frozen=True, slots=True)
class Inner:
    """A verb's words as they run inside, the result file that stays outside, and files to bring."""

    words: Sequence[str]
    json: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Name in `kvmabi.lab.inside.files.FOLDER` to content."""


def inner_command(words: Sequence[str]) -> Inner:
    """Return what is to run inside, and what of it stays outside.

    Raises UsageError for what makes no sense there, and ends as argparse does for words that the
    verb itself does not take.
    """
    if not words or words[0].startswith("-"):
        raise UsageError("which verb is to run in there? For instance: kvmabi lab run -- matrix")
    if words[0] in NO_VERBS:
        raise UsageError(NO_VERBS[words[0]])
    files = _files_to_bring(words)
    inside = {path: str(FOLDER / name) for path, name in files.items()}
    kept, json = _without_json(list(_replaced(words, inside)))
    options = {word.partition("=")[0] for word in kept}
    if kept[0] in RECORDING and not options & UNRECORDED:
        if "--jobs" not in options:
            kept += ["--jobs", str(JOBS)]
        kept += ["--json", "@records"]
    elif json is not None:
        kept += ["--json", "-" if json == "-" else "@records"]
    return Inner(kept, json, {name: _content(path) for path, name in files.items()})


def _files_to_bring(words: Sequence[str]) -> dict[str, str]:
    """Return the paths, each with its name in there, of the files that the verb is to read."""
    args = vars(make_parser(words[0]).parse_args(list(words)))
    for name, why in NOT_INSIDE.items():
        if args.get(name) is not None:
            raise UsageError(why)
    headers = args.get("headers")
    if isinstance(headers, str) and Path(headers).exists():
        raise UsageError(
            f"--headers {headers}: a kernel under test cannot see this machine's folders; the sets "
            "of headers that come with kvmabi are there by their names"
        )
    named = (args.get(name) for name in READ.get(words[0], ()))
    paths = [one for one in named if isinstance(one, str) and Path(one).is_file()]
    return {path: f"{at}-{Path(path).name}" for at, path in enumerate(dict.fromkeys(paths))}


def _replaced(words: Sequence[str], by: Mapping[str, str]) -> Iterator[str]:
    for word in words:
        option, equals, value = word.partition("=")
        yield by.get(word) or (f"{option}={by[value]}" if equals and value in by else word)


def _without_json(words: list[str]) -> tuple[list[str], str | None]:
    kept, json = [], None
    rest = iter(words)
    for word in rest:
        if word == "--json":
            json = next(rest, None)
        elif word.startswith("--json="):
            json = word.removeprefix("--json=")
        else:
            kept.append(word)
    return kept, json


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error

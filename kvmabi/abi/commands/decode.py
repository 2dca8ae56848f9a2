"""``kvmabi abi decode``: which ioctl a number is, as strace and a log show it."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass

from kvmabi import arch
from kvmabi.abi.commands import options
from kvmabi.abi.lookup import Modules
from kvmabi.abi.show_text import ioctl_text
from kvmabi.abi.view import IoctlView, direction
from kvmabi.arch import ARCHITECTURES, Architecture
from kvmabi.errors import ExitCode, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument("numbers", metavar="NUMBER", nargs="+", help="0x4040ae79, or in decimal")
    options.add_architecture(parser, "this host's")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Carry the subcommand out and return its exit code."""
    numbers = [_number(text) for text in args.numbers]
    wanted = options.architectures(args.arch, [arch.host()])
    known = Modules(list(ARCHITECTURES.values())).ioctls()
    answers = [_answer(number, one, known) for number in numbers for one in wanted]
    if args.json:
        options.write_json(args.json, [dataclasses.asdict(one) for one in answers])
    if args.json != "-":
        show = options.printer(args.json)
        for answer in answers:
            show(_text(answer))
    return ExitCode.KEPT


def _number(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        raise UsageError(f"{text} is no number") from None
    if -(1 << 31) <= number < 0:
        number += 1 << 32  # as a signed int, which some logs print
    if not 0 <= number < 1 << 32:
        raise UsageError(f"{text} is no ioctl number, which has 32 bits")
    return number


@dataclass(frozen=True, slots=True)
class Answer:
    """What a number is on an architecture.

    `ioctls` have that number; `near` have its type and nr, and another direction or size;
    `elsewhere` are the architectures on which it is an ioctl, by that ioctl's name.
    """

    number: int
    architecture: str
    direction: str
    type: int
    nr: int
    size: int
    ioctls: tuple[IoctlView, ...]
    near: tuple[IoctlView, ...]
    elsewhere: dict[str, list[str]]


def _answer(
    number: int, architecture: Architecture, known: list[tuple[Architecture, IoctlView]]
) -> Answer:
    bits, type_, nr, size = architecture.ioctl.parts(number)
    here = [found for one, found in known if one is architecture]
    same = tuple(found for found in here if found.number == number)
    near = () if same else tuple(one for one in here if (one.type, one.nr) == (type_, nr))
    elsewhere: dict[str, list[str]] = {}
    for one, found in known:
        if found.number == number and not same:
            elsewhere.setdefault(found.name, []).append(one.name)
    named = direction(architecture, bits)
    return Answer(number, architecture.name, named, type_, nr, size, same, near, elsewhere)


def _text(answer: Answer) -> str:
    head = f"{answer.number:#x} on {answer.architecture}"
    lines = [f"{head}: {one.name} = {ioctl_text(one)}" for one in answer.ioctls]
    if not lines:
        lines.append(f"{head}: no ioctl of KVM that kvmabi knows there")
    lines.append(
        f"  direction {answer.direction or 'none'}, type {answer.type:#x}, nr {answer.nr:#04x},"
        f" size {answer.size} bytes"
    )
    lines += [
        f"  the same type and nr, but another form: {one.name} = {ioctl_text(one)}"
        for one in answer.near
    ]
    lines += [f"  on {', '.join(names)} this is {name}" for name, names in answer.elsewhere.items()]
    return "\n".join(lines)

"""One picture: the four kinds of test side by side on both buses, and 2013's figures beside them.

It is an SVG file of our own; a PNG is made of it by rsvg-convert.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from kvmabi.benching.rows import SERIES_2013
from kvmabi.benching.run import Bench
from kvmabi.benching.turns import OURS, QEMU
from kvmabi.errors import ToolMissing, UsageError

KINDS: Final = ("no-eventfd", "wildcard-eventfd", "datamatch-eventfd", "pv-eventfd")
GROUPS: Final = (("mmio", "pci-mem", "MMIO"), ("portio", "pci-io", "port I/O"))
COLOURS: Final = {OURS: "#2166ac", QEMU: "#92c5de", "2013": "#b2abd2"}
HEIGHT: Final = 560
LEAST_WIDTH: Final = 640
LEFT, RIGHT, TOP, BOTTOM = 40, 40, 90, 110
BAR_WIDTH: Final = 28
GROUP_GAP: Final = 36
CONVERTER: Final = "rsvg-convert"


def write_plot(path: Path, bench: Bench) -> None:
    """Write the picture; the name's ending says what kind: .svg or .png."""
    picture = svg(bench)
    try:
        if path.suffix == ".svg":
            path.write_text(picture, "utf-8")
        else:
            _write_png(path, picture)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def check_plot(path: Path) -> None:
    """Raise UsageError or ToolMissing before anything is measured for a picture that cannot be."""
    if path.suffix not in (".svg", ".png"):
        raise UsageError(f"--plot writes .svg or .png files, not {path.name}")
    if path.suffix == ".png" and shutil.which(CONVERTER) is None:
        raise ToolMissing(
            f"{CONVERTER}, which makes PNG files, is not installed: "
            "sudo apt-get install librsvg2-bin (or write a .svg file)"
        )


def _write_png(path: Path, picture: str) -> None:
    done = subprocess.run(
        [CONVERTER, "--format", "png", "--output", str(path)],
        input=picture.encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise UsageError(f"cannot write {path}: {done.stderr.decode(errors='replace').strip()}")


def svg(bench: Bench) -> str:
    """The picture as SVG."""
    values = {
        (bus, kind): _values(bench, f"{bus}-{kind}:{bar}")
        for bus, bar, _ in GROUPS
        for kind in KINDS
    }
    most = max((value for one in values.values() for value in one.values()), default=1.0)
    scale = (HEIGHT - TOP - BOTTOM) / most
    sides = [side for side in COLOURS if any(side in one for one in values.values())]
    body, end = _groups(values, sides, scale)
    width = max(LEAST_WIDTH, end + RIGHT)
    baseline = HEIGHT - BOTTOM
    body.append(f'<path d="M{LEFT - 10} {baseline}H{end + 10:.0f}" stroke="#444"/>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{HEIGHT}" '
        f'viewBox="0 0 {width:.0f} {HEIGHT}" font-family="sans-serif">'
    )
    ground = f'<rect width="{width:.0f}" height="{HEIGHT}" fill="#fff"/>'
    parts = [head, ground, *_heading(bench, width / 2), *_legend(sides), *body, "</svg>"]
    return "".join(f"{part}\n" for part in parts)


def _groups(
    values: dict[tuple[str, str], dict[str, float]], sides: list[str], scale: float
) -> tuple[list[str], float]:
    """The bars of both buses with what stands below them, and where the last one ends."""
    parts: list[str] = []
    x = end = float(LEFT)
    for bus, _, title in GROUPS:
        start = x
        for kind in KINDS:
            parts += _bars(values[bus, kind], sides, x, scale)
            end = x + len(sides) * BAR_WIDTH
            name = kind.removesuffix("-eventfd")
            parts.append(_text((x + end) / 2, HEIGHT - BOTTOM + 18, name, 13))
            x = end + GROUP_GAP / 2
        parts.append(
            _text((start + end) / 2, HEIGHT - BOTTOM + 42, f"{title}, eventfd", 15, bold=True)
        )
        x += GROUP_GAP
    return parts, end


def _values(bench: Bench, name: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for side in (OURS, QEMU):
        row = bench.sides.get(side, {}).get(name)
        if row is not None and row.rounds:
            found[side] = row.cycles()
    if name in SERIES_2013:
        found["2013"] = SERIES_2013[name]
    return found


def _heading(bench: Bench, middle: float) -> list[str]:
    host = bench.host
    place = f"Linux {host.kernel_release}, {host.back_end}, {host.cpu_model}"
    if bench.emulated:
        place += " — EMULATED: no figures of hardware"
    return [
        _text(middle, 32, "Cycles of a guest's write to pci-testdev", 20, bold=True),
        _text(middle, 54, place, 13),
    ]


def _legend(sides: list[str]) -> list[str]:
    names = {"2013": "the series of 2013, on its hardware"}
    parts = []
    for number, side in enumerate(sides):
        x = LEFT + number * 150
        parts.append(
            f'<rect x="{x}" y="{HEIGHT - 40}" width="14" height="14" fill="{COLOURS[side]}"/>'
        )
        parts.append(_text(x + 20, HEIGHT - 28, names.get(side, side), 13, anchor="start"))
    return parts


def _bars(values: dict[str, float], sides: list[str], x: float, scale: float) -> list[str]:
    parts = []
    for number, side in enumerate(sides):
        if side not in values:
            continue
        height = values[side] * scale
        left, top = x + number * BAR_WIDTH, HEIGHT - BOTTOM - height
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{BAR_WIDTH - 3}" height="{height:.1f}" '
            f'fill="{COLOURS[side]}"/>'
        )
        parts.append(_text(left + BAR_WIDTH / 2 - 1, top - 5, f"{values[side] / 1000:.1f}k", 10))
    return parts


def _text(
    x: float, y: float, text: str, size: int, *, bold: bool = False, anchor: str = "middle"
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{weight}>'
        f"{escape(text)}</text>"
    )

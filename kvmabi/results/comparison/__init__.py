"""Two results beside each other: `compare` says what regressed; the other modules show it."""

from __future__ import annotations

from kvmabi.results.comparison.model import Comparison, Kind, Pair, compare

__all__ = ["Comparison", "Kind", "Pair", "compare"]

"""What several verbs' options take, as types for argparse."""

from __future__ import annotations

import argparse
import math


def seconds(text: str) -> float:
    """Return a time in seconds, above 0; argparse tells what is wrong with any other text."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: it must be a number of seconds, above 0")
    return value

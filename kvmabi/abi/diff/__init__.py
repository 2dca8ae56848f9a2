"""Two kernels' ABIs compared: each change, what it means for programs, and why."""

from kvmabi.abi.diff.changes import Change, Severity, merge
from kvmabi.abi.diff.compare import diff_architecture, diff_facts

__all__ = ["Change", "Severity", "diff_architecture", "diff_facts", "merge"]

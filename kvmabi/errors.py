"""The errors that kvmabi raises, and the exit codes of its verbs.

::

    KvmAbiError
    ├── UsageError            the user asked for something that cannot be done (exit 2)
    ├── HeaderError           a header cannot be read: file, line, column and the source line
    ├── AbiError              an ABI fact is missing or contradicts another
    ├── ImageError            a guest image cannot be loaded
    ├── KvmUnavailable        /dev/kvm cannot be used here; the message says the remedy (exit 3)
    ├── ToolMissing           a tool that this needs is not installed; the command is named (exit 3)
    ├── IoctlError (OSError)  an ioctl failed: its name, the kind of fd, and errno
    ├── LabUnavailable        no lab can be set up: no emulator, package or driver (exit 3)
    ├── BuildFailed           a kernel does not build; the compiler's errors are shown (exit 4)
    ├── KernelLost            the kernel under test crashed, hung or never came up (exit 4)
    ├── GuestError            a guest did not do what its loader and mailbox need
    │   ├── GuestCrash        the vCPU shut down, failed entry, or could not be emulated
    │   ├── GuestMisled       the guest did not find its device as the machine has it
    │   └── GuestTimeout      the vCPU did not come back before its deadline
    └── ResultError           a result file cannot be read or does not fit this run

A broken promise is no error but a result: see `kvmabi.results`.
"""

from __future__ import annotations

import enum
import errno as errno_names
import os


class ExitCode(enum.IntEnum):
    """The exit codes that every verb keeps."""

    KEPT = 0
    """Everything is as promised."""
    BROKEN = 1
    """A promise is broken, or something regressed."""
    USAGE = 2
    """The command line, or a file that it names, is no good."""
    NOTHING_CHECKED = 3
    """Nothing could be checked: no KVM, or every case was skipped."""
    HARNESS_FAILED = 4
    """kvmabi itself failed, or the kernel under test was lost."""


class KvmAbiError(Exception):
    """The base of every error that kvmabi raises on purpose."""

    exit_code = ExitCode.HARNESS_FAILED


class UsageError(KvmAbiError):
    """The user asked for something that cannot be done."""

    exit_code = ExitCode.USAGE


class HeaderError(KvmAbiError):
    """A header cannot be read; the message shows the place and the source line.

    `line` and `column` count from 1, and are 0 where the whole file is meant.
    """

    exit_code = ExitCode.USAGE

    def __init__(
        self, message: str, *, file: str = "", line: int = 0, column: int = 0, source: str = ""
    ) -> None:
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.source = source
        super().__init__(self._text())

    def _text(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        head = f"{place}: {self.message}" if place else self.message
        if not self.source:
            return head
        if not self.column:
            return f"{head}\n  {self.source}"
        indent = "".join("\t" if char == "\t" else " " for char in self.source[: self.column - 1])
        return f"{head}\n  {self.source}\n  {indent}^"


class AbiError(KvmAbiError):
    """An ABI fact is missing or contradicts another."""


class ImageError(KvmAbiError):
    """A guest image cannot be loaded."""

    exit_code = ExitCode.USAGE


class KvmUnavailable(KvmAbiError):
    """KVM cannot be used here; the message says why, and what to do."""

    exit_code = ExitCode.NOTHING_CHECKED


class ToolMissing(KvmAbiError):
    """Something that this needs is not installed; the message has the command that installs it."""

    exit_code = ExitCode.NOTHING_CHECKED


class IoctlError(KvmAbiError, OSError):
    """An ioctl failed: the message names the ioctl, the kind of fd and errno.

    `errno` is the kernel's, as in every OSError; `ioctl_name` is the ABI's name ("KVM_CREATE_VM");
    `fd_kind` is one of "system", "VM", "vCPU", "device".
    """

    def __init__(self, errno: int, ioctl_name: str, fd_kind: str, advice: str = "") -> None:
        self.ioctl_name = ioctl_name
        self.fd_kind = fd_kind
        name = errno_names.errorcode.get(errno, str(errno))
        text = f"{ioctl_name} on the {fd_kind} fd: {name} ({os.strerror(errno)})"
        self.text = f"{text}; {advice}" if advice else text
        OSError.__init__(self, errno, self.text)

    def __str__(self) -> str:
        return self.text


class LabUnavailable(KvmAbiError):
    """No lab can be set up here, or not with this kernel; the message says what to do."""

    exit_code = ExitCode.NOTHING_CHECKED


class BuildFailed(KvmAbiError):
    """A kernel cannot be configured or compiled; the message has the errors and names the log."""


class KernelLost(KvmAbiError):
    """The kernel under test crashed, hung or never came up; the message has its last words.

    `was_up`: it had come up, and the verb was running.
    """

    def __init__(self, message: str, *, was_up: bool = False) -> None:
        self.was_up = was_up
        super().__init__(message)


class GuestError(KvmAbiError):
    """A guest did not do what its loader and mailbox need."""


class GuestCrash(GuestError):
    """The vCPU shut down, failed entry, or met an instruction that KVM cannot emulate."""


class GuestMisled(GuestError):
    """The guest ran, and by its own account its device is not as the machine has it."""


class GuestTimeout(GuestError):
    """The vCPU did not come back from KVM_RUN before its deadline (`seconds`)."""

    def __init__(self, message: str, *, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(message)


class ResultError(KvmAbiError):
    """A result file cannot be read or does not fit this run."""

    exit_code = ExitCode.USAGE

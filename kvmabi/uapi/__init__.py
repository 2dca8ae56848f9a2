"""KVM's ABI as the host's architecture has it: structs, constants and ioctl numbers for ctypes.

The modules of this package are generated from the kernel's headers; see tools/update_headers.py. On
a machine whose architecture has no module yet, importing this raises KvmUnavailable.
"""

from __future__ import annotations

import os

from kvmabi.errors import KvmUnavailable

if os.uname().machine not in ("x86_64", "amd64"):
    raise KvmUnavailable(
        f"kvmabi has no KVM definitions for {os.uname().machine} yet; it has those of x86_64"
    )

from kvmabi.uapi.x86 import *  # noqa: F403

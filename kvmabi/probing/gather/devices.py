"""Which in-kernel devices KVM_CREATE_DEVICE can make, by asking without making them."""

from __future__ import annotations

from typing import Final

from kvmabi import uapi
from kvmabi.errors import IoctlError
from kvmabi.kvm import VM, System
from kvmabi.probing.gather.common import constants, errno_name
from kvmabi.probing.report import Json
from kvmabi.probing.setting import Setting

BEYOND: Final = 64
"""Type numbers below this are asked, named or not."""
_PREFIX: Final = "KVM_DEV_TYPE_"


def gather(setting: Setting) -> Json:
    """The section's data: every type with a name, and what else can be created."""
    known = constants(_PREFIX, setting)
    types = {number: name for name, number in known.items() if not name.endswith("_MAX")}
    with System.open(setting.device) as system, system.create_vm() as vm:
        answers = {number: _test(vm, number) for number in range(BEYOND)}
    return {
        "devices": [
            {
                "type": number,
                "name": types.get(number, ""),
                "creatable": not error,
                "errno": errno_name(error),
            }
            for number, error in answers.items()
            if number in types or not error
        ],
    }


def _test(vm: VM, number: int) -> int:
    argument = uapi.kvm_create_device()
    argument.type = number
    argument.flags = uapi.KVM_CREATE_DEVICE_TEST
    try:
        vm.call("KVM_CREATE_DEVICE", argument)
    except IoctlError as error:
        return error.errno or 0
    return 0

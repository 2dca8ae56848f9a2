"""The lab: another kernel, booted in an emulator, that runs a verb on its own KVM.

A kernel comes from a distribution's package, from a file (`kernels`) or from its source (`build`).
A root file system with Python and kvmabi is made for it (`rootfs`), a back end says which emulator
plays which CPU (`backends`, `machine`), and `launch` starts it. A `session` carries a verb's
arguments in, to the kernel's first process (`inside`), and its records out as `frames`, which the
`collector` makes a result of. Above that stand two kernels side by side (`pair`), many in a row
(`bisect`), and kernels with faults in them (`mutation`). The lab touches no KVM.
"""

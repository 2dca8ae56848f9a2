"""The lab: another kernel, booted in an emulator, that runs a verb on its own KVM.

A kernel comes from a distribution's package or from a file (`kernels`), a root file system with
Python and kvmabi is made for it (`userland`, `initramfs`), a back end says which emulator plays
which CPU (`backends`, `machine`), and `session` carries a verb's arguments in and its records out
as frames (`frames`). `inside` is the first process of the kernel under test. The lab touches no
KVM.
"""

"""Sets of kernel headers: where they come from, and the copies that are kept of them.

`sources` gives headers of any source by name, sanitised as the kernel does for programs; `store`
keeps sets of them, replaced whole, each with its source, its kernel version and a checksum a file.
Knows no layout of anything; see `kvmabi.abi` for what headers mean.
"""

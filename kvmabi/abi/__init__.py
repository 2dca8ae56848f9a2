"""What headers mean: layouts, constants and ioctl numbers of each architecture, and proofs.

`build.read_abi` makes an `Abi` (`model`) of a header tree; `emit` writes it as a module; `proof`
and `btf` compare it with a compiler and with a running kernel.
"""

"""The questions, one module a section: ``gather(setting)`` gives what the kernel answers as JSON.

These are the only modules of the probe that touch the machine. None changes it: VMs are made and
dropped, and nothing else.
"""

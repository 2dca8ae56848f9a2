"""What an operation costs a guest: the table of the 2013 series, and what lies beyond it.

The bench guest measures; `machine` and `qemu` run it, `extra` makes registrations that no device of
QEMU's has, `report` and `plot` show what came out.
"""

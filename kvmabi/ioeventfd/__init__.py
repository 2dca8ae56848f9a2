"""The ioeventfd check: what KVM promises, the cases that try it, and the runner that compares.

`promises` numbers what user space may rely on, `contract` predicts from them, `steps` are the
words that a case is written in, `cases` is the matrix, and `run` has real VMs act it out.
"""

"""What runs in the kernel under test beside the verb: standard library alone, and no shell.

`init` is its first process, and what it has to say leaves by `port`.
"""

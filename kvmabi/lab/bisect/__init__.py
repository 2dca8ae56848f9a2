"""The first bad commit of a kernel's history: `git bisect run`, with builds and boots as its step.

`judge` says what one commit is, `tree` has the history in a checkout of its own, `drive` asks git.
"""

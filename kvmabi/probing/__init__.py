"""What a kernel's KVM offers: gathered in sections, shown, saved and compared.

`gather` asks the kernel, one module a section; what it finds is plain JSON. `show` turns a
section's JSON into blocks for people and into facts to compare, and touches no device; so a saved
report can be shown and compared on any machine.
"""

"""What people see of a report: a module a section, each with ``blocks(data)`` and ``facts(data)``.

Everything here is made from a report's JSON alone, so that a report from another machine, or of
another architecture, shows like one's own.
"""

"""Tables of facts that the header does not have: names of MSRs and CPUID bits, units, ages."""

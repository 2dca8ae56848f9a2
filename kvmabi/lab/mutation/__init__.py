"""Who tests the tests: seeded kernel faults, each built, booted, and looked for by the matrix."""

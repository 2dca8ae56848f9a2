"""The emulated machine that a kernel under test runs on: its process, its lines, its snapshots."""

"""Kernels to test, built from source: sources, changes to them, configurations, and the build."""

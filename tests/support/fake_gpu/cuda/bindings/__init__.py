"""Stands in for NVIDIA's `cuda` packages: see bindings/runtime.py."""

"""The pure middle: no clock, no randomness, no input or output.

Everything that decides lives here; everything that acts lives above and is
handed orders. Modules only import modules that stand below them (see
docs/architecture.md).
"""

"""The kernels that images contain: their choice, and the compilation of small ones."""

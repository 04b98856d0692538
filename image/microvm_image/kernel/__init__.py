"""The kernels of images."""

"""The kinds of sources of images, one module for each."""

"""The kinds of sources from which images are built, one module for each kind."""

"""A machine's start: by booting, or as a clone of a template."""

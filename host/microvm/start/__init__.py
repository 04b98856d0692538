"""The start of a machine: by booting, or as a clone of a template."""

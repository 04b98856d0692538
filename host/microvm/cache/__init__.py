"""The cache on disk: its folder, its locks, and whom it trusts."""

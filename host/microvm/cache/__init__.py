"""The cache on disk: its folders, its locks, and who is trusted with it."""

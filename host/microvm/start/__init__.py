"""Starting machines by booting or cloning, and saving them as templates or snapshots."""

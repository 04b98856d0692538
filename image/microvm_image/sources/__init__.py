"""The sources of a root file system: archives, folders, registries, and packages of Debian."""

"""Access to the operating system: memory and CPUs, tools, folders, signals, descriptors."""

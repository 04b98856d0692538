"""What the system below has for this process: memory and CPUs, tools, signals, standard streams."""

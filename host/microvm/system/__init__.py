"""The system below, as a process uses it: memory and CPUs, tools, signals, standard streams."""

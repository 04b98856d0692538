"""Running many commands: jobs, each with one command, and the pool of machines that runs them."""

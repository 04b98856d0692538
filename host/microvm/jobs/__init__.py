"""Commands for many machines: jobs, and the pool of machines that runs them."""

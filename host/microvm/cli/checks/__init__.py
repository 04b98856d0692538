"""The checks of `microvm doctor`. Each one examines a resource that machines need from the host."""

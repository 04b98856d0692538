"""The verb `microvm python`: Python in a new machine, as a prompt or for one program."""

"""The checks of `microvm doctor`: each looks at one thing that a machine needs from its host."""

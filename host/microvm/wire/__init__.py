"""The connection between host and guest: frames, sessions, and their bytes on a socket."""

"""The wire between host and guest: frames, the conversation, and its bytes on a socket."""

"""The kernel of an image: which one it is, and our own small one, from its source to the cache."""

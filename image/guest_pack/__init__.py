"""The builder of guest packs: wheels that have, compiled, what guests are made of.

It is no part of a distribution: `make guest-pack` runs it.
"""

"""The builder of guest packs, which are wheels with the compiled files of guests.

It is not part of a distribution; `make guest-pack` runs it.
"""

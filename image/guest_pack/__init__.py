"""The builder of guest packs, which are wheels with the compiled files of guests.

`make guest-pack` runs this package. No distribution of microvm contains it.
"""

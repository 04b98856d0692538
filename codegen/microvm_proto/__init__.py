"""A small typed protocol between Python and C, generated from one schema.

The steps are `load → resolve → lint → digest → generate`; each has a module of that name. What
passes between them is :mod:`microvm_proto.schema`, frozen and with every layout fact computed.
Beside them, `released` writes a schema down for later, and `breaking` compares one with that.
"""

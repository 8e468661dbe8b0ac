"""The list of models that workflows load, and what can be told of a model file without loading it.

Shared by ``provisioning`` and the worker; nothing but Python's own library is needed.
"""

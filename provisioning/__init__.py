"""The parts of ``provision.sh`` that need more than a shell.

They run before the project is installed, and in stages of the image that have no virtual
environment: standard library only, but for ``node_requirements``, which ``provision.sh`` installs
packaging for.
"""

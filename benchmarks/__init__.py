"""Speed, memory and quality, each with one command.

A package, not a namespace: pySBD installs a package of the same name, which would come first.
"""

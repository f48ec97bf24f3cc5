"""Complete runs, from input files to a folder of results: what the commands call, and scripts may call as well.

Each function stands in the module of its name: ``from icsg3d.runs.generate import generate``.
"""

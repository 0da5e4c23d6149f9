"""Which folders are packages; everything else stands in pyproject.toml.

`datasets/` stays where a visitor looks for it and is installed as `mtlkit.datasets`. It has no
`__init__.py`, which would shadow the package `datasets` of other people in a checkout.
pyproject.toml can list packages or find them, and not find some and add one: hence this file.
"""

from setuptools import find_namespace_packages, setup

found = find_namespace_packages(include=["mtlkit*"], exclude=["*__pycache__*"])
setup(packages=[*found, "mtlkit.datasets"], package_dir={"mtlkit.datasets": "datasets"})

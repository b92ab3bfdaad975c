"""JupyterLab's views of tunebook, and the launcher of its TypeScript kernel, are data files beside this package."""

__version__ = "0.1.0"

"""The pyfuse3 edge: the only package that imports pyfuse3, and the only one that awaits."""

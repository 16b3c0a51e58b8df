"""Layer directories: the only place that touches them.

Used by the overlay alone. Everything is reached by a directory descriptor and a single name (hardening: no path is ever
joined, no symbolic link of a layer followed), everything is synchronous, and every failure is an OSError.
"""

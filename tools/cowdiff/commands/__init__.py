"""The commands of cowdiff, one a module; each exports ``command``."""

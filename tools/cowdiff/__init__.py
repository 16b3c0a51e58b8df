"""cowdiff: what a throw-away run changed, read from its upper. Imports cowfs, never cowrun."""

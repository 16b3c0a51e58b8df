"""The command line of cowfs: one module per command, imported when it is used."""

"""The parts of the report's page: markup, style and script. Data, but a package, so that they are installed."""

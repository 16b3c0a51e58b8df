"""What the report's page has of its own: markup, style and script. Data, but a package, so that they are installed."""

"""What the overlay remembers between calls: nodes and their numbers, open handles. No I/O but closing descriptors."""

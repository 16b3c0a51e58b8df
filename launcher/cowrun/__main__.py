"""``python -m cowrun``: for programs that start cowrun without knowing where its script lies."""

from cowrun.main import main

main()

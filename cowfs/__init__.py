"""cowfs: a copy-on-write merge of image layers in user space, and the store that keeps them."""

__version__ = "0.1.0"

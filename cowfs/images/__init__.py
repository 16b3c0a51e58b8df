"""Images: from what a person typed to layers in the store.

Everything that is read here comes from strangers: documents and archives are bounded and strict, nothing is listed
before its digests are right, and nothing in a layer reaches a path outside of that layer's own directory.
"""

"""Layers as a person looks at them: who supplies a path, what is hidden, what no one can see.

    explain     one path: what each layer says of it, why it is not there, where links lead
    survey      all paths of all layers, in order, each with what every layer has there
    waste       bytes that no one can see
    spans       from which layer on a file shows no more
    picture     all files of all layers, for a page
    labels      a merge whose files say where they are from, by attributes
    layered     merged, each layer, and the states in between, as one tree
    whiteouts   one layer by itself, its deletions visible

The layers may be hostile. Nothing here prints or writes.
"""

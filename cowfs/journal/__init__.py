"""Who changed what, when: the journal of a mount.

    records    the format: values to bytes and back. Pure
    writer     the file: batches, its limit, its end
    processes  who asks: read from /proc while the request waits
    reader     a journal as a stream of changes, of a live run too
    history    what a stream of changes says about one path, or one process

``cowfs.fuse.journaled`` writes, cowdiff reads. Nothing here knows nodes, layers or FUSE.
"""

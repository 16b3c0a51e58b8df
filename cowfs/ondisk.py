"""Every file name, extended attribute and JSON key that we write, each with one sentence.

The marks are overlayfs's own (kernel: fs/overlayfs/overlayfs.h, Documentation/filesystems/overlayfs.rst), so that
the kernel can mount what we wrote and we what it wrote.
"""

from typing import Final

# --- marks in layers and uppers, after the prefix "trusted." or, without privilege, "user." -----------------
OVERLAY_TRUSTED: Final = b"trusted.overlay."  # the namespace that only CAP_SYS_ADMIN can touch
OVERLAY_USER: Final = b"user.overlay."  # the namespace of a mount without privilege ("userxattr")
OPAQUE: Final = b"opaque"  # on a directory: "y" hides the directories below it; "x" says it holds xattr whiteouts
WHITEOUT: Final = b"whiteout"  # on an empty regular file in a directory whose opaque is "x": a whiteout
REDIRECT: Final = b"redirect"  # where the lower copy is: a name (same parent) or an absolute path in the merge
METACOPY: Final = b"metacopy"  # on a regular file: its data is still in a lower
ORIGIN: Final = b"origin"  # the encoded file handle of the lower file that this was copied up from
IMPURE: Final = b"impure"  # on a directory: "y" says that it may hold files with an origin
NLINK: Final = b"nlink"  # on an index entry: the link count of the merged file relative to upper or lower
PARTIAL: Final = (
    b"partial"  # beside metacopy: written parts of the data are here; the value: how much of the lower counts
)
UPPER: Final = b"upper"  # on a directory index entry: the encoded handle of the upper directory
UUID: Final = b"uuid"  # on the upper root: the uuid of the overlay
ESCAPE: Final = b"overlay."  # "trusted.overlay.overlay.X" is how a layer stores an ordinary "trusted.overlay.X"

WHITEOUT_RDEV: Final = 0  # a character device 0/0 is a whiteout
OCI_WHITEOUT: Final = b".wh."  # in a layer's tar: the name after it is deleted in the layers below
OCI_OPAQUE: Final = b".wh..wh..opq"  # in a layer's tar: its directory hides the layers below

# --- what fuse-overlayfs writes in the stores of container engines, beside overlayfs's marks ---------------
FUSE_OVERLAYFS: Final = b"user.fuseoverlayfs."  # before "opaque" ("y") where it may not write trusted ones, and others
OVERRIDE_USER: Final = b"user.fuseoverlayfs.override_stat"  # "uid:gid:octal mode" of a file or directory
OVERRIDE_SECURITY: Final = b"security.fuseoverlayfs.override_stat"  # the same, for root
OVERRIDE_CONTAINERS: Final = b"user.containers.override_stat"  # the same, written by containers/storage: lowers only

# --- the work directory -----------------------------------------------------------------------------------
WORK: Final = b"work"  # where a copy is built before one rename publishes it
PARTS: Final = b"parts"  # exists while files of the upper may be in parts: found by a mount, a kill left them
PRIVATE: Final = "cowfs"  # what engines' mounts of ours keep beside it: their journal
INDEX: Final = b"index"  # hex of an origin handle -> the upper file that all links of that lower file share

# --- the store: /var/lib/cowfs, 0700 ----------------------------------------------------------------------
STORE_DEFAULT: Final = "/var/lib/cowfs"
STORE_ENV: Final = "COWFS_ROOT"  # names another store; --root on a command line comes before it
PODMAN_ROOT_ENV: Final = "COWFS_PODMAN_ROOT"  # names podman's store, where it is in no usual place
IMAGES: Final = "images"  # a file per reference: manifest digest and config
BLOBS: Final = "blobs/sha256"  # manifests, configs, half-downloaded layers
PART: Final = ".part"  # the end of the name of a half-downloaded blob
LAYERS: Final = "layers/sha256"  # a directory per diffID; listed means complete on disk
LAYER_ROOT: Final = "root"  # the tree of a layer
LAYER_SKELETON: Final = "skeleton.gz"  # the layer's tar without the data of its files: with the tree, the exact tar
LAYER_JSON: Final = "layer.json"  # facts about a layer, written before it is published
RUNS: Final = "runs"  # a directory per run
BUILDS: Final = "builds"  # a directory per container that became a layer of an image, and is gone
BUILD_JSON: Final = "build.json"  # which one that was
RUNS_LEDGER: Final = "runs.ledger"  # what each run that is over takes: so that a run's end reads one file
VOLUMES: Final = "volumes"  # a directory per named volume: the data itself, kept until it is removed by hand
STAGING: Final = "staging"  # what is being built; each entry holds a flock while its maker lives
LOCKS: Final = "locks"  # flock files: the store's own, one per layer that is being imported
STORE_LOCK: Final = "store"  # in locks: shared by who publishes an image, exclusive for who removes
REMOVAL: Final = "removal"  # in locks: exists while a removal is under way; the next command finishes it

# --- a run: runs/<id>/ -----------------------------------------------------------------------------------
RUN_JSON: Final = "run.json"  # the record of a run, replaced by one rename
RUN_LOCK: Final = "lock"  # flocked by the launcher as long as the run lives
RUN_LOG: Final = "log"  # what the file system process complained about; only where it did
RUN_UPPER: Final = "upper"
RUN_WORK: Final = "work"
RUN_JOURNAL: Final = "journal"  # who changed what, when (cowfs.journal)
RUN_LAUNCHER: Final = "launcher.json"  # among the files of a run that is going: where to ask for its processes
RUN_PINNED: Final = "pinned"  # exists where no budget may remove the run
RUN_APPLIED: Final = "applied"  # what cowdiff apply did to the base, to be taken back
RUN_MERGED: Final = "merged"  # the mount point, inside the launcher's own mount namespace

# --- live mounts ------------------------------------------------------------------------------------------
ENGINE_SOURCE: Final = "cowfs-overlay"  # what /proc/mounts says of a mount that a container engine asked for
MOUNTS: Final = "/run/cowfs"  # a file per live mount, named by the minor number of its device; gone with it
JOURNAL_ENV: Final = "COWFS_JOURNAL"  # "no": mounts that an engine asks for keep none
TRANSPORT_ENV: Final = "COWFS_TRANSPORT"  # how requests travel, where no option says (cowfs.fuse.transport)

/* What pyfuse3 cannot say to libfuse: flags and backing ids of open files, and three requests it has no handler for.
 *
 * Loaded with RTLD_GLOBAL before pyfuse3, so that its calls of the functions defined here come to them. Nothing is decided
 * here: tables and callbacks are filled by Python, in the thread that also runs libfuse (no locking), and requests
 * are answered by libfuse's own public functions. See library.py.
 */
#define _GNU_SOURCE
#define FUSE_USE_VERSION 312
/* Newer headers declare the versioned function, with a const that came later; ours is declared where it is defined. */
#define fuse_session_new_versioned declared_by_the_header
#include <dlfcn.h>
#include <fuse3/fuse_lowlevel.h>
#undef fuse_session_new_versioned
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define HANDLES (1 << 20)          /* file handles are descriptors; directories are numbered from here on */
#define FOPEN_DIRECT_IO (1u << 0)
#define FOPEN_KEEP_CACHE (1u << 1)
#define FOPEN_CACHE_DIR (1u << 3)
#define FOPEN_PASSTHROUGH (1u << 7)

/* The kernel's structures (include/uapi/linux/fuse.h), which older headers know without the backing id. */
struct open_out { uint64_t fh; uint32_t open_flags; int32_t backing_id; };
struct attr_out {
    uint64_t ino, size, blocks, atime, mtime, ctime;
    uint32_t atimensec, mtimensec, ctimensec, mode, nlink, uid, gid, rdev, blksize, flags;
};
struct entry_out {
    uint64_t nodeid, generation, entry_valid, attr_valid;
    uint32_t entry_valid_nsec, attr_valid_nsec;
    struct attr_out attr;
};

static int32_t backing[HANDLES];   /* file handle -> backing id; 0: none */
static int cache_directories;
static int intercepted;            /* pyfuse3's session was made by a function of ours */

/* Callbacks return the answer, negative for an errno, or LATER: then they give the request to
 * cowfs_allocated or cowfs_copied when they know. */
#define LATER INT64_MIN
typedef int64_t (*allocate_function)(fuse_req_t request, uint64_t fh, int mode, int64_t offset, int64_t length);
typedef int64_t (*seek_function)(uint64_t fh, int64_t offset, int whence);
typedef int64_t (*copy_function)(fuse_req_t request, uint64_t from, int64_t from_offset, uint64_t to, int64_t to_offset,
                                 uint64_t length);
static allocate_function on_allocate;
static seek_function on_seek;
static copy_function on_copy;

void cowfs_set_backing(uint64_t fh, int32_t id) { if (fh < HANDLES) backing[fh] = id; }
int cowfs_intercepted(void) { return intercepted; }
void cowfs_cache_directories(int yes) { cache_directories = yes; }
void cowfs_set_callbacks(allocate_function allocate, seek_function seek, copy_function copy)
{
    on_allocate = allocate;
    on_seek = seek;
    on_copy = copy;
}

static struct open_out opened(const struct fuse_file_info *fi)
{
    struct open_out out = { fi->fh, 0, 0 };
    if (fi->fh >= HANDLES) {
        if (cache_directories)
            out.open_flags = FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE;
    } else if (backing[fi->fh]) {
        out.open_flags = FOPEN_PASSTHROUGH;
        out.backing_id = backing[fi->fh];
    } else {
        out.open_flags = (fi->keep_cache ? FOPEN_KEEP_CACHE : 0) | (fi->direct_io ? FOPEN_DIRECT_IO : 0);
    }
    return out;
}

int fuse_reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
    struct open_out out = opened(fi);
    return fuse_reply_buf(req, (const char *)&out, sizeof out);
}

static void split(double seconds, uint64_t *whole, uint32_t *nanoseconds)
{
    if (seconds < 0)
        seconds = 0;
    *whole = (uint64_t)seconds;
    *nanoseconds = (uint32_t)((seconds - (double)*whole) * 1e9);
}

int fuse_reply_create(fuse_req_t req, const struct fuse_entry_param *e, const struct fuse_file_info *fi)
{
    struct { struct entry_out entry; struct open_out open; } out;
    const struct stat *st = &e->attr;
    memset(&out, 0, sizeof out);
    out.entry.nodeid = e->ino;
    out.entry.generation = e->generation;
    split(e->entry_timeout, &out.entry.entry_valid, &out.entry.entry_valid_nsec);
    split(e->attr_timeout, &out.entry.attr_valid, &out.entry.attr_valid_nsec);
    out.entry.attr = (struct attr_out){
        .ino = st->st_ino, .size = st->st_size, .blocks = st->st_blocks,
        .atime = st->st_atim.tv_sec, .mtime = st->st_mtim.tv_sec, .ctime = st->st_ctim.tv_sec,
        .atimensec = st->st_atim.tv_nsec, .mtimensec = st->st_mtim.tv_nsec, .ctimensec = st->st_ctim.tv_nsec,
        .mode = st->st_mode, .nlink = st->st_nlink, .uid = st->st_uid, .gid = st->st_gid,
        .rdev = (uint32_t)st->st_rdev,
        .blksize = st->st_blksize,
    };
    out.open = opened(fi);
    return fuse_reply_buf(req, (const char *)&out, sizeof out);
}

void cowfs_allocated(fuse_req_t req, int64_t result)
{
    fuse_reply_err(req, (int)-result);
}

void cowfs_copied(fuse_req_t req, int64_t result)
{
    if (result < 0)
        fuse_reply_err(req, (int)-result);
    else
        fuse_reply_write(req, (size_t)result);
}

static void allocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
    int64_t result = on_allocate(req, fi->fh, mode, offset, length);
    (void)ino;
    if (result != LATER)
        cowfs_allocated(req, result);
}

static void seek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
    int64_t found = on_seek(fi->fh, offset, whence);
    (void)ino;
    if (found < 0)
        fuse_reply_err(req, (int)-found);
    else
        fuse_reply_lseek(req, found);
}

static void copy_range(fuse_req_t req, fuse_ino_t from, off_t from_offset, struct fuse_file_info *from_fi,
                       fuse_ino_t to, off_t to_offset, struct fuse_file_info *to_fi, size_t length, int flags)
{
    int64_t result = on_copy(req, from_fi->fh, from_offset, to_fi->fh, to_offset, length);
    (void)from, (void)to, (void)flags;
    if (result != LATER)
        cowfs_copied(req, result);
}

/* pyfuse3's table with three more entries; NULL where there are no callbacks, and then its own table is used. */
static struct fuse_lowlevel_ops *completed(const struct fuse_lowlevel_ops *table, size_t size)
{
    struct fuse_lowlevel_ops *ours;
    if (!on_allocate || size > sizeof *ours)
        return NULL;
    ours = calloc(1, sizeof *ours);
    if (!ours)
        return NULL;
    memcpy(ours, table, size);
    ours->fallocate = allocate;
    ours->lseek = seek;
    ours->copy_file_range = copy_range;
    intercepted = 1;
    return ours;
}

#undef fuse_session_new
struct fuse_session *fuse_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *op, size_t op_size, void *userdata)
{
    struct fuse_session *(*real)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t, void *) =
        dlsym(RTLD_NEXT, "fuse_session_new");
    struct fuse_lowlevel_ops *ours = completed(op, op_size);
    return ours ? real(args, ours, sizeof *ours, userdata) : real(args, op, op_size, userdata);
}

/* libfuse 3.17 and later: the headers call this one. */
struct fuse_session *fuse_session_new_versioned(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
                                                size_t op_size, const void *version, void *userdata);
struct fuse_session *fuse_session_new_versioned(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
                                                size_t op_size, const void *version, void *userdata)
{
    struct fuse_session *(*real)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t, const void *, void *) =
        dlsym(RTLD_NEXT, "fuse_session_new_versioned");
    struct fuse_lowlevel_ops *ours = completed(op, op_size);
    return ours ? real(args, ours, sizeof *ours, version, userdata) : real(args, op, op_size, version, userdata);
}

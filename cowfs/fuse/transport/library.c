/* What pyfuse3 cannot say to libfuse: flags and backing ids of open files, numbers that several nodes have, and three
 * requests it has no handler for.
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
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#undef fuse_session_new_versioned
#include <stdint.h>
#include <string.h>
#include "receive.h"
#include "threads.h"

#define HANDLES (1 << 20)          /* file handles are descriptors */
#define FOPEN_DIRECT_IO (1u << 0)
#define FOPEN_KEEP_CACHE (1u << 1)
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

int32_t cowfs_backing[HANDLES];    /* file handle -> backing id; 0: none */
uint8_t cowfs_whole[HANDLES];      /* file handle -> 1: all of the file's data is behind the descriptor */
static struct fuse_lowlevel_ops theirs; /* pyfuse3's table */
static int keep_listings, sync_files, read_files, share_numbers, answer_attributes;
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

int cowfs_intercepted(void) { return intercepted; }
void cowfs_keep_listings(void) { keep_listings = 1; }
void cowfs_sync_files(void) { sync_files = 1; }
void cowfs_read_files(void) { read_files = 1; }
void cowfs_share_numbers(void) { share_numbers = 1; }
void cowfs_answer_attributes(void) { answer_attributes = 1; }
void cowfs_set_callbacks(allocate_function allocate, seek_function seek, copy_function copy)
{
    on_allocate = allocate;
    on_seek = seek;
    on_copy = copy;
}

static struct open_out opened(const struct fuse_file_info *fi)
{
    struct open_out out = { fi->fh, 0, 0 };
    if (fi->fh < HANDLES && cowfs_backing[fi->fh]) {
        out.open_flags = FOPEN_PASSTHROUGH;
        out.backing_id = cowfs_backing[fi->fh];
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

/* Nodes that are names of one file are to have its number: pyfuse3 has one field for the node's and the file's, so the
 * latter comes as the number of a device, where there is none: of all but devices. */
static int shares(const struct stat *st)
{
    return st->st_rdev && !S_ISCHR(st->st_mode) && !S_ISBLK(st->st_mode);
}

static struct stat shared(const struct stat *st)
{
    struct stat out = *st;
    if (share_numbers && shares(st)) {
        out.st_ino = st->st_rdev;
        out.st_rdev = 0;
    }
    return out;
}

#define REAL(name) ((__typeof__(&name))real_function(&real_##name, #name))
static void *real_function(void **known, const char *name)
{
    if (!*known)
        *known = dlsym(RTLD_NEXT, name);
    return *known;
}
static void *real_fuse_reply_entry, *real_fuse_reply_attr, *real_fuse_add_direntry_plus;

int fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *e)
{
    struct fuse_entry_param out;
    if (!share_numbers || !shares(&e->attr))
        return REAL(fuse_reply_entry)(req, e);
    out = *e;
    out.attr = shared(&e->attr);
    return REAL(fuse_reply_entry)(req, &out);
}

int fuse_reply_attr(fuse_req_t req, const struct stat *attr, double timeout)
{
    struct stat out;
    if (!share_numbers || !shares(attr))
        return REAL(fuse_reply_attr)(req, attr, timeout);
    out = shared(attr);
    return REAL(fuse_reply_attr)(req, &out, timeout);
}

size_t fuse_add_direntry_plus(fuse_req_t req, char *buf, size_t size, const char *name, const struct fuse_entry_param *e,
                              off_t offset)
{
    struct fuse_entry_param out;
    if (!share_numbers || !shares(&e->attr))
        return REAL(fuse_add_direntry_plus)(req, buf, size, name, e, offset);
    out = *e;
    out.attr = shared(&e->attr);
    return REAL(fuse_add_direntry_plus)(req, buf, size, name, &out, offset);
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

/* A directory is read without being opened: once OPENDIR was answered so, the kernel sends none any more, nor RELEASEDIR,
 * and keeps what it read (Linux 5.1). Its handle is then the node's number. */
static void open_directory(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino, (void)fi;
    fuse_reply_err(req, ENOSYS);
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    fi->fh = ino;
    theirs.readdirplus(req, ino, size, offset, fi);
}

static void sync_directory(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    fi->fh = ino;
    theirs.fsyncdir(req, ino, data_only, fi);
}

/* Where nothing is to be decided and the disk takes its time, a thread does it without Python (threads.c). */
int syncs_here(uint64_t fh) { return intercepted && sync_files && fh < HANDLES && cowfs_backing[fh]; }
int reads_here(uint64_t fh) { return intercepted && read_files && fh < HANDLES && cowfs_whole[fh]; }

static void sync_file(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    if (syncs_here(fi->fh))
        sync_later(req, (int)fi->fh, data_only);
    else
        theirs.fsync(req, ino, data_only, fi);
}

static void read_file(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    if (reads_here(fi->fh))
        read_later(req, (int)fi->fh, size, offset);
    else
        theirs.read(req, ino, size, offset, fi);
}

/* Who is known to have no attributes is asked for them all the same: by the kernel before a write and at a chown, by
 * whoever copies or compares. */
int answers_here(void) { return intercepted && answer_attributes; }
int refuses_ioctl(void) { return intercepted && !theirs.ioctl; }

static void get_attribute(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    if (is_bare(ino) && is_absent_where_bare(name))
        fuse_reply_err(req, ENODATA);
    else
        theirs.getxattr(req, ino, name, size);
}

static void list_attributes(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    if (!is_bare(ino))
        theirs.listxattr(req, ino, size);
    else if (size)
        fuse_reply_buf(req, NULL, 0);
    else
        fuse_reply_xattr(req, 0);
}

/* pyfuse3's table with what was asked for in place of its own; NULL where nothing was, and then its own is used. */
static struct fuse_lowlevel_ops *completed(const struct fuse_lowlevel_ops *table, size_t size)
{
    static struct fuse_lowlevel_ops ours;
    if ((!on_allocate && !keep_listings && !sync_files && !read_files && !answer_attributes) || size > sizeof ours)
        return NULL;
    memcpy(&theirs, table, size);
    ours = theirs;
    if (on_allocate) {
        ours.fallocate = allocate;
        ours.lseek = seek;
        ours.copy_file_range = copy_range;
    }
    if (keep_listings) {
        ours.opendir = open_directory;
        ours.readdirplus = list;
        ours.fsyncdir = sync_directory;
    }
    if (sync_files)
        ours.fsync = sync_file;
    if (read_files)
        ours.read = read_file;
    if (answer_attributes) {
        ours.getxattr = get_attribute;
        ours.listxattr = list_attributes;
    }
    intercepted = 1;
    return &ours;
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

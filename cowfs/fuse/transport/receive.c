/* The next request: looked for a while before anybody sleeps, and answered at once where Python has nothing to say.
 *
 * pyfuse3 takes each request by fuse_session_receive_buf, which comes here. What needs no Python never reaches it: reads
 * and syncs that threads.c does, requests that libfuse refuses by itself, and questions for attributes of files that are
 * known to have none.
 */
#define _GNU_SOURCE
#include "receive.h"
#include <dlfcn.h>
#include <errno.h>
#include <linux/fuse.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "threads.h"

#define IN_A_ROW 64                /* requests before Python has its turn: signals, work that came back from threads */

int32_t cowfs_looks;               /* how often the device is read before it counts as drained; Python sets it */
int32_t cowfs_drained;             /* 1: nothing was there; Python sleeps, and sets it to 0 */
static int takes;                  /* the device can be read without waiting */
static int answers;                /* what needs no Python is kept from it */

/* --- numbers of files without attributes: a hash table with linear probing, 0 is free */

static uint64_t *bare;
static size_t slots, used;

static size_t place(uint64_t number)
{
    return (size_t)(number * 0x9e3779b97f4a7c15u >> 20) & (slots - 1);
}

/* Where it is, or would be. */
static size_t find(uint64_t number)
{
    size_t i = place(number);
    while (bare[i] && bare[i] != number)
        i = (i + 1) & (slots - 1);
    return i;
}

static int grow(void)
{
    uint64_t *old = bare;
    size_t i, before = slots, wanted = slots ? 2 * slots : 1024;
    uint64_t *more = calloc(wanted, sizeof *more);
    if (!more)
        return 0;
    bare = more;
    slots = wanted;
    for (i = 0; i < before; i++)
        if (old[i])
            bare[find(old[i])] = old[i];
    free(old);
    return 1;
}

void cowfs_bare(uint64_t number)
{
    size_t i;
    if (2 * used >= slots && !grow())
        return;
    i = find(number);
    used += !bare[i];
    bare[i] = number;
}

void cowfs_not_bare(uint64_t number)
{
    size_t hole, i;
    if (!slots || !bare[hole = find(number)])
        return;
    used--;
    bare[hole] = 0;
    for (i = (hole + 1) & (slots - 1); bare[i]; i = (i + 1) & (slots - 1)) {
        uint64_t moved = bare[i];
        bare[i] = 0;
        bare[find(moved)] = moved;
    }
}

int is_bare(uint64_t number)
{
    return slots && bare[find(number)];
}

/* Of other names a file system may say that it knows none such, of ACLs of symbolic links it does. */
int is_absent_where_bare(const char *name)
{
    return !strcmp(name, "security.capability");
}

/* --- the device */

void cowfs_take(int answer)
{
    answers = answer;
    takes = 1;
}

static int needs_no_python(const struct fuse_in_header *in)
{
    const void *argument = in + 1;
    switch (in->opcode) {
    case FUSE_READ:
        return reads_here(((const struct fuse_read_in *)argument)->fh);
    case FUSE_FSYNC:
        return syncs_here(((const struct fuse_fsync_in *)argument)->fh);
    case FUSE_GETXATTR:
        return answers_here() && is_bare(in->nodeid)
            && is_absent_where_bare((const char *)argument + sizeof(struct fuse_getxattr_in));
    case FUSE_LISTXATTR:
        return answers_here() && is_bare(in->nodeid);
    case FUSE_IOCTL:
        return refuses_ioctl();
    default:
        return 0;
    }
}

int fuse_session_receive_buf(struct fuse_session *session, struct fuse_buf *buffer)
{
    static int (*real)(struct fuse_session *, struct fuse_buf *);
    int in_a_row = 0, looks = 0, got;
    if (!real)
        real = (int (*)(struct fuse_session *, struct fuse_buf *))dlsym(RTLD_NEXT, "fuse_session_receive_buf");
    if (!takes)
        return real(session, buffer);
    while (in_a_row < IN_A_ROW) {
        got = real(session, buffer);
        if (got == -EAGAIN) {
            /* Threads that have work want the processor. */
            if (++looks > cowfs_looks || cowfs_unfinished) {
                cowfs_drained = 1;
                break;
            }
            sched_yield();
        } else if (got > 0 && answers && needs_no_python(buffer->mem)) {
            fuse_session_process_buf(session, buffer);
            in_a_row++;
            looks = 0;
        } else {
            return got;
        }
    }
    return -EINTR; /* pyfuse3 begins again, with its wait */
}

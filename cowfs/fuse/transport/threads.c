/* Threads for what the disk takes its time for: fsync, reads that no cache can answer, and the end of removed files.
 *
 * Nothing is decided here. A request's descriptor stays open until its answer: the kernel releases a handle only then.
 */
#define _GNU_SOURCE
#include "threads.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_THREADS 16
#define STACK (64 << 10)
#define SMALL (64 << 10)           /* bytes that may be copied between two other requests */

struct buffer { char *start; size_t size; };

struct job {
    struct job *next;
    void (*run)(struct job *job, struct buffer *buffer);
    fuse_req_t req;
    int file, data_only, reads;
    size_t size;
    off_t offset;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t something = PTHREAD_COND_INITIALIZER, nothing = PTHREAD_COND_INITIALIZER;
static struct job *first, **last = &first;
static int threads, idle, woken, reading;
int cowfs_unfinished;              /* jobs */

static void *work(void *argument)
{
    struct buffer buffer = { NULL, 0 };
    struct job *job;
    int reads;
    (void)argument;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!(job = first)) {
            idle++;
            while (!woken)
                pthread_cond_wait(&something, &lock);
            woken--;
        }
        if (!(first = job->next))
            last = &first;
        pthread_mutex_unlock(&lock);
        job->run(job, &buffer);
        reads = job->reads;
        free(job);
        pthread_mutex_lock(&lock);
        reading -= reads;
        cowfs_unfinished--;
        if (!cowfs_unfinished || (reads && !reading))
            pthread_cond_broadcast(&nothing);
    }
    return NULL;
}

/* Signals are for Python's thread. */
static int one_more_thread(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int failed;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK);
    failed = pthread_create(&thread, &attributes, work, NULL);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    threads += !failed;
    return !failed;
}

static void run_here(struct job *job)
{
    struct buffer buffer = { NULL, 0 };
    job->run(job, &buffer);
    free(buffer.start);
}

/* Where nobody waits for it, a job is done by a thread that is at work already, if there is one. Where there can be none
 * at all, it is done here. */
static void submit(struct job job, int somebody_waits)
{
    struct job *copy = malloc(sizeof *copy);
    int alone;
    if (!copy) {
        run_here(&job);
        return;
    }
    *copy = job;
    copy->next = NULL;
    pthread_mutex_lock(&lock);
    alone = somebody_waits || idle == threads;
    if (alone && !idle && threads < MOST_THREADS && !one_more_thread() && !threads) {
        pthread_mutex_unlock(&lock);
        free(copy);
        run_here(&job);
        return;
    }
    *last = copy;
    last = &copy->next;
    cowfs_unfinished++;
    reading += job.reads;
    if (alone && idle) {
        idle--;
        woken++;
        pthread_cond_signal(&something);
    }
    pthread_mutex_unlock(&lock);
}

static void run_sync(struct job *job, struct buffer *buffer)
{
    int failed = job->data_only ? fdatasync(job->file) : fsync(job->file);
    (void)buffer;
    fuse_reply_err(job->req, failed ? errno : 0);
}

void sync_later(fuse_req_t req, int file, int data_only)
{
    submit((struct job){ .run = run_sync, .req = req, .file = file, .data_only = data_only }, 1);
}

static int has_room(struct buffer *buffer, size_t size)
{
    if (buffer->size < size) {
        free(buffer->start);
        buffer->start = malloc(size);
        buffer->size = buffer->start ? size : 0;
    }
    return buffer->size >= size;
}

static void run_read(struct job *job, struct buffer *buffer)
{
    ssize_t got, all = 0;
    if (!has_room(buffer, job->size)) {
        fuse_reply_err(job->req, ENOMEM);
        return;
    }
    do {
        got = pread(job->file, buffer->start + all, job->size - all, job->offset + all);
        all += got > 0 ? got : 0;
    } while ((got < 0 && errno == EINTR) || (got > 0 && (size_t)all < job->size));
    if (got < 0 && !all)
        fuse_reply_err(job->req, errno);
    else
        fuse_reply_buf(job->req, buffer->start, (size_t)all);
}

/* What the cache has of it, -1 where that is not all. A short answer may be the end of the file, or of the cache. */
static ssize_t read_cached(int file, char *buffer, size_t size, off_t offset)
{
    struct iovec all = { buffer, size };
    ssize_t got = preadv2(file, &all, 1, offset, RWF_NOWAIT);
    if (got > 0 && (size_t)got < size) {
        struct iovec rest = { buffer + got, size - (size_t)got };
        return preadv2(file, &rest, 1, offset + got, RWF_NOWAIT) == 0 ? got : -1;
    }
    return got;
}

void read_later(fuse_req_t req, int file, size_t size, off_t offset)
{
    static char here[SMALL];
    ssize_t got = size <= SMALL ? read_cached(file, here, size, offset) : -1;
    if (got < 0)
        submit((struct job){ .run = run_read, .reads = 1, .req = req, .file = file, .size = size, .offset = offset }, 1);
    else
        fuse_reply_buf(req, here, (size_t)got);
}

static void run_close(struct job *job, struct buffer *buffer)
{
    (void)buffer;
    close(job->file);
}

/* The last descriptor of a file without names: its file system now frees what it had. */
void cowfs_close_later(int file)
{
    submit((struct job){ .run = run_close, .file = file }, 0);
}

/* Before data is looked for elsewhere than behind the descriptors that are read. */
void cowfs_wait_for_reads(void)
{
    pthread_mutex_lock(&lock);
    while (reading)
        pthread_cond_wait(&nothing, &lock);
    pthread_mutex_unlock(&lock);
}

/* Before libfuse's session goes, through which they answer. */
void cowfs_wait_for_threads(void)
{
    pthread_mutex_lock(&lock);
    while (cowfs_unfinished)
        pthread_cond_wait(&nothing, &lock);
    pthread_mutex_unlock(&lock);
}

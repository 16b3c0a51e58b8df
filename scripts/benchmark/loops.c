/* Loops of system calls that take their own time, the same for every file system: no start-up is in the figure.
 *
 *   loops append COUNT                 names on stdin: a line added to each of the first COUNT
 *   loops write FILE COUNT FSYNC       4 KiB each, in order; FSYNC 1: each followed by fsync
 *   loops read FILE COUNT              4 KiB each, at random places
 *   loops mmap FILE COUNT              one byte of a page each, at random places
 *   loops first FILE                   open, 4 KiB in the middle, close
 *   loops getattr FILE COUNT           statx that has to ask the file system
 *   loops open FILE COUNT              open and close
 *   loops missing NAME COUNT           stat of a name that does not exist, again and again
 *   loops stat                         names on stdin: stat of each, present or absent, once
 *
 * The first five print seconds in all, the others the median in microseconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, LINES = 1 << 20 };

static char page[PAGE] = "a page";
static char *names[LINES];

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* xorshift64 with a fixed seed: the same places in every run. */
static uint64_t next_random(void)
{
    static uint64_t x = 0x9e3779b97f4a7c15u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

static int must_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0644);
    if (fd < 0)
        fail(path);
    return fd;
}

static uint64_t pages_of(int fd)
{
    struct stat st;
    if (fstat(fd, &st) || st.st_size < PAGE)
        fail("size");
    return st.st_size / PAGE;
}

static long read_names(void)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    long count = 0;
    while (count < LINES && (length = getline(&line, &room, stdin)) > 0) {
        line[length - 1] = 0;
        names[count++] = strdup(line);
    }
    return count;
}

static void append(long count)
{
    static const char text[] = "one more line\n";
    for (long i = 0; i < count; i++) {
        int fd = must_open(names[i], O_WRONLY | O_APPEND);
        if (write(fd, text, sizeof text - 1) < 0)
            fail(names[i]);
        close(fd);
    }
}

static void write_pages(const char *path, long count, int sync)
{
    int fd = must_open(path, O_WRONLY | O_CREAT);
    for (long i = 0; i < count; i++)
        if (write(fd, page, PAGE) != PAGE || (sync && fsync(fd)))
            fail(path);
    close(fd);
}

static void read_pages(const char *path, long count)
{
    int fd = must_open(path, O_RDONLY);
    uint64_t pages = pages_of(fd);
    for (long i = 0; i < count; i++)
        if (pread(fd, page, PAGE, next_random() % pages * PAGE) != PAGE)
            fail(path);
    close(fd);
}

static void map_pages(const char *path, long count)
{
    int fd = must_open(path, O_RDONLY);
    uint64_t pages = pages_of(fd);
    volatile char *data = mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        fail(path);
    long sum = 0;
    for (long i = 0; i < count; i++)
        sum += data[next_random() % pages * PAGE];
    page[0] = (char)sum;
    close(fd);
}

static void first_write(const char *path)
{
    int fd = must_open(path, O_RDWR);
    if (pwrite(fd, page, PAGE, pages_of(fd) / 2 * PAGE) != PAGE)
        fail(path);
    close(fd);
}

static void once(const char *what, const char *path)
{
    struct stat st;
    struct statx all;
    if (!strcmp(what, "getattr")) {
        if (statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &all))
            fail(path);
    } else if (!strcmp(what, "open")) {
        close(must_open(path, O_RDONLY));
    } else if (stat(path, &st) && errno != ENOENT) {
        fail(path);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const char *what, const char *path, long count)
{
    double *took = malloc(count * sizeof *took);
    for (long i = 0; i < count; i++) {
        double begin = now();
        once(what, path ? path : names[i]);
        took[i] = now() - begin;
    }
    qsort(took, count, sizeof *took, compare);
    return took[count / 2] * 1e6;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    const char *what = argv[1], *path = argc > 2 ? argv[2] : NULL;
    long count = argc > 3 ? atol(argv[3]) : 0;
    if (!strcmp(what, "stat") || !strcmp(what, "append")) {
        count = read_names();
        if (!count)
            return 2;
    }
    double begin = now();
    if (!strcmp(what, "append") && path && atol(path) <= count)
        append(atol(path));
    else if (!strcmp(what, "write") && argc == 5)
        write_pages(path, count, atoi(argv[4]));
    else if (!strcmp(what, "read") && count)
        read_pages(path, count);
    else if (!strcmp(what, "mmap") && count)
        map_pages(path, count);
    else if (!strcmp(what, "first") && path)
        first_write(path);
    else if (count) {
        printf("%.3f\n", median(what, path, count));
        return 0;
    } else
        return 2;
    printf("%.6f\n", now() - begin);
    return 0;
}

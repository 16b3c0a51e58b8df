/* Work that needs no Python: see threads.c. */
#ifndef COWFS_THREADS_H
#define COWFS_THREADS_H
#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

extern int cowfs_unfinished;

void sync_later(fuse_req_t req, int file, int data_only);
void read_later(fuse_req_t req, int file, size_t size, off_t offset);

/* For Python. */
void cowfs_close_later(int file);
void cowfs_wait_for_reads(void);
void cowfs_wait_for_threads(void);
#endif

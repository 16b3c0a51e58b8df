/* What receive.c and library.c know of each other. */
#ifndef COWFS_RECEIVE_H
#define COWFS_RECEIVE_H
#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>
#include <stdint.h>

/* receive.c: is the file known to have no attributes, and is this one of those that it then has not? */
int is_bare(uint64_t number);
int is_absent_where_bare(const char *name);

/* library.c: is such a request answered without Python? */
int reads_here(uint64_t fh);
int syncs_here(uint64_t fh);
int answers_here(void);
int refuses_ioctl(void);
#endif

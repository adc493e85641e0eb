/* The paths without what the standard marks as unstable, so that any host of wasi:http takes them. */
#define STABLE
#include "paths.c"

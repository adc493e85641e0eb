/* Requests that the guest makes: by the host's number, shared by all that belongs to one. */
#ifndef FETCHES_H
#define FETCHES_H

#include "exchange.h"

typedef struct {
    uint32_t users;
    uint32_t number;
} fetch_t;

static fetch_t *make_fetch(uint32_t number) {
    fetch_t *fetch = heap_zeroed(sizeof(fetch_t));
    fetch->users = 1;
    fetch->number = number;
    return fetch;
}

static fetch_t *fetch_share(fetch_t *fetch) {
    fetch->users++;
    return fetch;
}

/* Forget one use; with the last one the host gives up what is under way. */
static void fetch_leave(fetch_t *fetch) {
    if (fetch != NULL && --fetch->users == 0) {
        host_forget(fetch->number);
        heap_give(fetch);
    }
}

#endif

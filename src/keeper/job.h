/* One act on many devices. A job is a row with a cursor; each step goes on for BM_CHORE_MS and commits devices, counters and cursor together, so
 * that a job that is cut off, by whatever, goes on where it was and does nothing twice. */
#ifndef BM_KEEPER_JOB_H
#define BM_KEEPER_JOB_H

#include "keeper/internal.h"

/* The oldest job that runs, one step, in a transaction of its own; true when there is more to do. */
bool bm_jobs_step(struct bm_keeper *k, int64_t now);
/* One step of this job inside the open transaction; *j follows. Nothing when it does not run. A refusal of a device is written down and is no failure. */
BM_MUST_USE enum bm_rc bm_job_step(struct bm_keeper *k, struct bm_job *j, int64_t now, struct bm_error *e);
/* A new job over request (members of bulk.start), running or, when its devices are still to be listed, filling. Adds "job" and "state" to out.
 * BM_USAGE, BM_NOTFOUND: the request. */
BM_MUST_USE enum bm_rc bm_job_start(struct bm_keeper *k, const char *act, const json_t *request, int64_t now, json_t *out,
                                    struct bm_error *e);

#define BM_JOB_CA "ca-compromise" /* the act of a job that revokes all that the CA named "ca" issued */

/* selection.c: which devices, and what is done to each. Parsed anew for each step: names may mean something else by then. */
struct bm_selection {
    const struct bm_act *act; /* NULL: a transfer to org_id */
    int reason;
    const char *state; /* borrowed from the request; NULL: any. Ids: 0 is any */
    int64_t batch_id, product_id, owner_id, service_id, org_id;
};
BM_MUST_USE enum bm_rc bm_selection_read(struct bm_keeper *k, const char *act, const json_t *request, struct bm_selection *ret,
                                         struct bm_error *e);
/* Judges one device, does it unless `dry`, and counts it in j. ret_why: set, and *ret_refused, when the device refuses. */
BM_MUST_USE enum bm_rc bm_selection_apply(struct bm_keeper *k, const struct bm_selection *s, const struct bm_job_item *i, bool dry,
                                          int64_t now, struct bm_job *j, bool *ret_refused, struct bm_error *ret_why);

#endif

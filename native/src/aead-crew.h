/* See aead-crew.c. */
#ifndef RUDDER_AEAD_CREW_H
#define RUDDER_AEAD_CREW_H

#include "aead.h"

typedef void aead_run(struct aead_job *jobs, size_t count);

#define MAX_HELPERS 8

/* So many threads from now on, 0 at first; returns how many there are. */
int crew_resize(int helpers);
/* Runs a batch, with their help if it is large. */
void crew_run(aead_run *run, struct aead_job *jobs, size_t count);

#endif

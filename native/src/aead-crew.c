/*
 * Threads that help with large batches, inside the call that has one: the caller says what there is, all take chunks of it by one
 * index, the caller too, and it returns when the last chunk is done. So nothing is queued, and nothing overtakes.
 */
#include "aead-crew.h"

#include <pthread.h>
#include <signal.h>

/* What wakes somebody, and what one takes at once. */
#define ENOUGH 64
#define SHARE 32

static struct {
  pthread_mutex_t lock;
  pthread_cond_t work, idle;
  int helpers, wanted; /* those above `wanted` end */
  int busy;            /* helpers in the batch at hand */
  bool is_taken;       /* by a caller; another one does its batch alone */
  unsigned batch;
  aead_run *run;
  struct aead_job *jobs;
  size_t count, next;
} crew = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .idle = PTHREAD_COND_INITIALIZER};

static void take_shares(aead_run *run, struct aead_job *jobs, size_t count) {
  for (;;) {
    size_t at = __atomic_fetch_add(&crew.next, SHARE, __ATOMIC_RELAXED);
    if (at >= count) return;
    run(jobs + at, count - at < SHARE ? count - at : SHARE);
  }
}

static void *help(void *argument) {
  int number = (int)(intptr_t)argument;
  pthread_mutex_lock(&crew.lock);
  for (unsigned seen = crew.batch; number < crew.wanted;) {
    /* Of a batch that is over when somebody comes there is nothing left: its count is 0. */
    if (seen == crew.batch || crew.count == 0) {
      seen = crew.batch;
      pthread_cond_wait(&crew.work, &crew.lock);
      continue;
    }
    seen = crew.batch;
    aead_run *run = crew.run;
    struct aead_job *jobs = crew.jobs;
    size_t count = crew.count;
    crew.busy++;
    pthread_mutex_unlock(&crew.lock);
    take_shares(run, jobs, count);
    pthread_mutex_lock(&crew.lock);
    if (--crew.busy == 0) pthread_cond_broadcast(&crew.idle);
  }
  crew.helpers--;
  pthread_cond_broadcast(&crew.idle);
  pthread_mutex_unlock(&crew.lock);
  return NULL;
}

/* Node's signals are for its own threads. */
static bool start_helper(int number) {
  sigset_t all, before;
  pthread_t thread;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&thread, NULL, help, (void *)(intptr_t)number);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error == 0) pthread_detach(thread);
  return error == 0;
}

int crew_resize(int helpers) {
  pthread_mutex_lock(&crew.lock);
  /* All of them leave first, so that numbers are not given twice. */
  crew.wanted = 0;
  pthread_cond_broadcast(&crew.work);
  while (crew.helpers > 0) pthread_cond_wait(&crew.idle, &crew.lock);
  crew.wanted = helpers;
  while (crew.helpers < helpers && start_helper(crew.helpers)) crew.helpers++;
  crew.wanted = crew.helpers;
  int running = crew.helpers;
  pthread_mutex_unlock(&crew.lock);
  return running;
}

void crew_run(aead_run *run, struct aead_job *jobs, size_t count) {
  pthread_mutex_lock(&crew.lock);
  bool is_alone = crew.helpers == 0 || crew.is_taken || count < ENOUGH;
  if (is_alone) {
    pthread_mutex_unlock(&crew.lock);
    run(jobs, count);
    return;
  }
  crew.is_taken = true;
  crew.run = run;
  crew.jobs = jobs;
  crew.count = count;
  __atomic_store_n(&crew.next, 0, __ATOMIC_RELAXED);
  crew.batch++;
  pthread_cond_broadcast(&crew.work);
  pthread_mutex_unlock(&crew.lock);
  take_shares(run, jobs, count);
  pthread_mutex_lock(&crew.lock);
  crew.count = 0;
  while (crew.busy > 0) pthread_cond_wait(&crew.idle, &crew.lock);
  crew.is_taken = false;
  pthread_mutex_unlock(&crew.lock);
}

/*
 * The way in of a sealed wire: datagrams are opened where they were received, right after recvmmsg. Each segment of a train is
 * judged alone: data to be delivered, an empty packet, a message of a handshake for the main thread, or dropped for one reason.
 */
#include <errno.h>
#include <string.h>

#include "sessions.h"

/* UDP_MAX_SEGMENTS since Linux 6.9, see inbound.ts. */
#define MOST_SEGMENTS 128

/* A data message on its way through the cipher. */
struct arrival {
  const struct session_key *key;
  int32_t address, port;
};

struct batch {
  struct sealed *sealed;
  struct memory slab;
  size_t jobs, keys;
  int32_t opened;
  struct arrival *arrivals;
};

/* An IPv4 packet as long as it says that it is: behind it there is padding. What makes no sense is for JavaScript to say. */
static int32_t length_without_padding(const uint8_t *packet, uint32_t length) {
  if (length < 20 || packet[0] >> 4 != 4) return (int32_t)length;
  uint32_t total = (uint32_t)packet[2] << 8 | packet[3];
  return (int32_t)(total >= 20 && total <= length ? total : length);
}

static void deliver(struct batch *batch, const struct aead_job *job, const struct arrival *arrival) {
  struct sealed *sealed = batch->sealed;
  if (!job->is_authentic) return count_in(sealed, TALLY_BAD_TAG, 1);
  if (!is_new(sealed, arrival->key, job->counter)) return count_in(sealed, TALLY_REPLAY, 1);
  peer_received(sealed, arrival->key, job->length > 0, arrival->address, arrival->port);
  if (job->length == 0) return count_in(sealed, TALLY_KEEPALIVES_IN, 1);
  if ((size_t)batch->opened == sealed->opened.count) return count_in(sealed, TALLY_SEGMENTS, 1);
  int32_t *record = sealed->opened.data + (size_t)batch->opened++ * OPENED_INTS;
  record[OPENED_OFFSET] = (int32_t)(job->target - batch->slab.data);
  record[OPENED_LENGTH] = length_without_padding(job->target, job->length);
  record[OPENED_PEER] = arrival->key->line;
}

/* In the order of arrival, as the replay windows want it. */
static void open_all_of(struct batch *batch) {
  struct sealed *sealed = batch->sealed;
  aead_open(sealed->jobs, batch->jobs);
  for (size_t i = 0; i < batch->jobs; i++) deliver(batch, &sealed->jobs[i], &batch->arrivals[i]);
  explicit_bzero(sealed->keys, batch->keys * sizeof *sealed->keys);
  batch->jobs = batch->keys = 0;
}

static uint32_t load32(const uint8_t *bytes) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void take_segment(struct batch *batch, const struct datagram *datagram, uint8_t *bytes, size_t length) {
  struct sealed *sealed = batch->sealed;
  if (length < DATA_OVERHEAD) return count_in(sealed, TALLY_MALFORMED, 1);
  if (load32(bytes) != MESSAGE_DATA) return take_mail(sealed, bytes, length, datagram->sender, datagram->port);
  int32_t index = (int32_t)load32(bytes + 4);
  uint64_t number = load32(bytes + 8) | (uint64_t)load32(bytes + 12) << 32;
  if (number >= REJECT_AFTER_MESSAGES) return count_in(sealed, TALLY_NO_SESSION, 1);
  if (batch->jobs == MAX_SEALED_JOBS) open_all_of(batch);
  if (batch->keys == 0 || sealed->keys[batch->keys - 1].index != index) {
    if (!receiving_key(sealed, index, &sealed->keys[batch->keys])) return count_in(sealed, TALLY_NO_SESSION, 1);
    batch->keys++;
  }
  const struct session_key *key = &sealed->keys[batch->keys - 1];
  batch->arrivals[batch->jobs] = (struct arrival){key, datagram->sender, datagram->port};
  struct aead_job *job = &sealed->jobs[batch->jobs++];
  job->source = job->target = bytes + DATA_HEADER_BYTES;
  job->key = key->key;
  job->counter = number;
  job->text = job->length = (uint32_t)(length - DATA_OVERHEAD);
}

static void take_datagram(struct batch *batch, const struct datagram *datagram) {
  size_t length = (size_t)datagram->length, segment = datagram->segment_size > 0 ? (size_t)datagram->segment_size : length;
  if (datagram->is_truncated) return count_in(batch->sealed, TALLY_TRUNCATED, 1);
  if (length == 0) return count_in(batch->sealed, TALLY_MALFORMED, 1);
  if (length > segment * MOST_SEGMENTS) return count_in(batch->sealed, TALLY_SEGMENTS, 1);
  for (size_t at = 0; at < length; at += segment) {
    uint8_t *bytes = batch->slab.data + datagram->offset + at;
    take_segment(batch, datagram, bytes, length - at < segment ? length - at : segment);
  }
}

/* receiveSealed(max): packets opened of up to that many datagrams; a record of `opened` says where each lies, and whose it is. */
napi_value receive_sealed(napi_env env, napi_callback_info info) {
  static _Thread_local struct arrival arrivals[MAX_SEALED_JOBS];
  struct path *path;
  struct sealed *sealed = attached_sealed(env, &path, "receiveSealed");
  napi_value arguments[1];
  int32_t max;
  if (sealed == NULL || !get_arguments(env, info, 1, arguments)) return NULL;
  if (!get_int(env, arguments[0], "max", 0, limit_of(&path->datagrams, MAX_DATAGRAMS), &max)) return NULL;
  start_tally(sealed, path);
  const struct datagram *datagrams;
  int received = receive_datagrams(path, max, &datagrams);
  if (received < 0) return int_value(env, received);
  struct batch batch = {.sealed = sealed, .slab = path->slabs[SLAB_INBOUND], .arrivals = arrivals};
  for (int i = 0; i < received; i++) take_datagram(&batch, &datagrams[i]);
  open_all_of(&batch);
  return int_value(env, batch.opened);
}

/*
 * The way out of a sealed wire. Messages are sealed from the outbound slab into one of our own, so nothing before that has to
 * leave room for headers and tags: a train of equal packets becomes a train of equal sealed ones.
 *
 *     sealUdp(first, count)    as many messages as there is room for
 *     sendSealed(first, count) those, with one system call
 *
 * What has no session is kept for later, and one that cannot be sealed has its error: as if the kernel had refused it.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sessions.h"

static void store32(uint8_t *to, uint32_t word) {
  for (int i = 0; i < 4; i++) to[i] = (uint8_t)(word >> (8 * i));
}

/* To 16, but not beyond the MTU: a full packet of 1420 bytes stays one. */
static size_t padded(const struct sealed *sealed, size_t length) {
  size_t wanted = (length + 15) & ~(size_t)15;
  if (wanted > sealed->mtu) wanted = sealed->mtu;
  return wanted < length ? length : wanted;
}

uint8_t *lay_out_packet(struct sealed *sealed, struct aead_job *job, const struct session_key *key, uint64_t number,
                        const uint8_t *text, size_t length, uint8_t *to) {
  store32(to, MESSAGE_DATA);
  store32(to + 4, (uint32_t)key->remote_index);
  store32(to + 8, (uint32_t)number);
  store32(to + 12, (uint32_t)(number >> 32));
  job->source = text;
  job->target = to + DATA_HEADER_BYTES;
  job->key = key->key;
  job->counter = number;
  job->text = (uint32_t)length;
  job->length = (uint32_t)padded(sealed, length);
  return job->target + job->length + AEAD_TAG_BYTES;
}

/* A message to be sealed: pieces, of which each holds whole packets of the segment's size, the last one shorter. */
struct plain_message {
  int32_t line, iovec_count;
  size_t segment, packets;
  struct iovec *iovecs;
};

static bool read_message(const struct path *path, int32_t index, struct plain_message *message) {
  int32_t record[RECORD_INTS];
  copy_ints(record, path->sends.data + (size_t)index * RECORD_INTS, RECORD_INTS);
  message->line = record[SEND_PEER];
  message->iovec_count = record[SEND_IOVEC_COUNT];
  int32_t segment = record[SEND_SEGMENT_SIZE];
  if (message->line < 1 || message->line >= path->sealed->line_count || segment < 0 || segment > 65535) return false;
  if (!build_iovecs(path, &path->send_iovecs, record[SEND_FIRST_IOVEC], message->iovec_count, message->iovecs)) return false;
  /* A packet alone lies in one piece. */
  if (segment == 0 && message->iovec_count != 1) return false;
  message->segment = segment == 0 ? message->iovecs[0].iov_len : (size_t)segment;
  message->packets = 0;
  for (int32_t i = 0; i < message->iovec_count; i++) {
    message->packets += (message->iovecs[i].iov_len + message->segment - 1) / message->segment;
  }
  return true;
}

/* What the message takes when it is sealed; more than a datagram has, if it is too large for one. */
static size_t sealed_size(const struct sealed *sealed, const struct plain_message *message) {
  if (message->packets > MAX_DATAGRAM_BYTES / DATA_OVERHEAD) return MAX_DATAGRAM_BYTES + 1;
  return message->packets * (padded(sealed, message->segment) + DATA_OVERHEAD);
}

/* The packets of a message, one after the other. */
struct cursor {
  int32_t piece;
  size_t at;
};

static bool next_packet(const struct plain_message *message, struct cursor *cursor, struct iovec *packet) {
  if (cursor->piece == message->iovec_count) return false;
  const struct iovec *piece = &message->iovecs[cursor->piece];
  size_t left = piece->iov_len - cursor->at;
  *packet = (struct iovec){(uint8_t *)piece->iov_base + cursor->at, left < message->segment ? left : message->segment};
  cursor->at += packet->iov_len;
  if (cursor->at == piece->iov_len) *cursor = (struct cursor){.piece = cursor->piece + 1};
  return true;
}

static void stage_message(struct sealed *sealed, const struct plain_message *message) {
  struct cursor cursor = {0};
  struct iovec packet;
  while (next_packet(message, &cursor, &packet)) stage_packet(sealed, message->line, packet.iov_base, packet.iov_len);
}

/* Neighbours for one peer share its key. */
static bool key_for(struct sealed *sealed, int32_t line, size_t *keys) {
  if (*keys > 0 && sealed->keys[*keys - 1].line == line) return true;
  if (!sending_key(sealed, line, &sealed->keys[*keys])) return false;
  (*keys)++;
  return true;
}

/* Lays a message out in the slab; false: no session, so its packets are kept. */
static bool lay_out(struct sealed *sealed, const struct plain_message *message, struct sealed_message *out, uint8_t *to,
                    size_t *jobs, size_t *keys) {
  uint64_t number;
  if (!key_for(sealed, message->line, keys) || !endpoint_of(sealed, message->line, &out->to)) return false;
  const struct session_key *key = &sealed->keys[*keys - 1];
  if (!claim_numbers(key, message->packets, &number)) return false;
  uint8_t *end = to;
  struct cursor cursor = {0};
  struct iovec packet;
  while (next_packet(message, &cursor, &packet)) {
    end = lay_out_packet(sealed, &sealed->jobs[(*jobs)++], key, number++, packet.iov_base, packet.iov_len, end);
  }
  out->bytes = to;
  out->length = (size_t)(end - to);
  out->segment = message->packets == 1 ? 0 : (uint16_t)(padded(sealed, message->segment) + DATA_OVERHEAD);
  peer_sent(sealed, message->line, true);
  return true;
}

/* sealUdp(first, count): seals messages, the first of them at least; returns how many. What was sealed before is forgotten, but
 * for the last record's: it has room of its own. */
napi_value seal_udp(napi_env env, napi_callback_info info) {
  static _Thread_local struct iovec iovecs[MAX_IOVECS_PER_MESSAGE];
  struct path *path;
  struct sealed *sealed = attached_sealed(env, &path, "sealUdp");
  int32_t first, count, done = 0;
  if (sealed == NULL || !get_range(env, info, &path->sends, MAX_MESSAGES, &first, &count)) return NULL;
  start_tally(sealed, path);
  bool is_last = first == MAX_MESSAGES - 1 && count == 1;
  if (first + count == MAX_MESSAGES && !is_last) return throw_errno(env, EINVAL, "sealUdp", "the last record goes alone");
  uint8_t *to = is_last ? sealed->slab + SEALED_BYTES : sealed->slab, *end = to + (is_last ? SLOT_BYTES : SEALED_BYTES);
  size_t jobs = 0, keys = 0;
  if (!is_last) sealed->ready_from = sealed->ready_to = first;
  for (; done < count; done++) {
    struct plain_message message = {.iovecs = iovecs};
    struct sealed_message *out = &sealed->messages[first + done];
    out->error = EINVAL;
    if (!read_message(path, first + done, &message)) {
      explicit_bzero(sealed->keys, keys * sizeof *sealed->keys);
      return throw_errno(env, EINVAL, "sealUdp", "a record points outside its memory");
    }
    size_t size = sealed_size(sealed, &message);
    if (size > MAX_DATAGRAM_BYTES) {
      out->error = EMSGSIZE;
      continue;
    }
    /* Out of room: this much now, the caller asks again for the rest. */
    if (done > 0 && ((size_t)(end - to) < size || jobs + message.packets > MAX_SEALED_JOBS)) break;
    if (has_staged(sealed, message.line)) send_staged(sealed, path, message.line);
    if (lay_out(sealed, &message, out, to, &jobs, &keys)) {
      out->error = 0;
      to = out->bytes + ((out->length + 63) & ~(size_t)63);
    } else {
      out->error = ENOKEY;
      stage_message(sealed, &message);
    }
  }
  aead_seal(sealed->jobs, jobs);
  explicit_bzero(sealed->keys, keys * sizeof *sealed->keys);
  if (!is_last) sealed->ready_to = first + done;
  return int_value(env, done);
}

/* 0, or why it cannot be sent. */
static int error_of(const struct sealed *sealed, int32_t index) {
  bool is_there = index == MAX_MESSAGES - 1 || (index >= sealed->ready_from && index < sealed->ready_to);
  return is_there ? sealed->messages[index].error : EINVAL;
}

union segment_control {
  char bytes[CMSG_SPACE(sizeof(int))];
  struct cmsghdr align;
};

/* sendSealed(first, count): what sealUdp() has made of those records, handed to the kernel in one sendmmsg. */
napi_value send_sealed(napi_env env, napi_callback_info info) {
  static _Thread_local struct mmsghdr messages[MAX_MESSAGES];
  static _Thread_local struct iovec iovecs[MAX_MESSAGES];
  static _Thread_local union segment_control controls[MAX_MESSAGES];
  struct path *path;
  struct sealed *sealed = attached_sealed(env, &path, "sendSealed");
  int32_t first, count, built = 0;
  if (sealed == NULL || !get_range(env, info, &path->sends, MAX_MESSAGES, &first, &count)) return NULL;
  for (; built < count && error_of(sealed, first + built) == 0; built++) {
    struct sealed_message *sent = &sealed->messages[first + built];
    iovecs[built] = (struct iovec){sent->bytes, sent->length};
    messages[built].msg_hdr = (struct msghdr){
        .msg_name = &sent->to, .msg_namelen = sizeof sent->to, .msg_iov = &iovecs[built], .msg_iovlen = 1};
    if (sent->segment > 0) add_segment_size(&messages[built].msg_hdr, controls[built].bytes, sizeof controls[built].bytes, sent->segment);
  }
  if (built == 0) return int_value(env, count == 0 ? 0 : -error_of(sealed, first));
  int sent = sendmmsg(path->udp, messages, (unsigned)built, MSG_DONTWAIT | MSG_NOSIGNAL);
  return int_value(env, sent < 0 ? -errno : sent);
}

static bool seal_keepalive(struct sealed *sealed, const struct session_key *key, uint8_t *packet) {
  struct aead_job job;
  uint64_t number;
  if (!claim_numbers(key, 1, &number)) return false;
  lay_out_packet(sealed, &job, key, number, packet, 0, packet);
  aead_seal(&job, 1);
  return true;
}

static void send_keepalive(struct sealed *sealed, const struct path *path, int32_t line) {
  struct session_key key;
  struct sockaddr_in to;
  uint8_t packet[DATA_OVERHEAD];
  if (!endpoint_of(sealed, line, &to) || !sending_key(sealed, line, &key)) return;
  bool is_sealed = seal_keepalive(sealed, &key, packet);
  explicit_bzero(&key, sizeof key);
  if (!is_sealed) return;
  if (sendto(path->udp, packet, sizeof packet, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof to) < 0) return;
  peer_sent(sealed, line, false);
  count_in(sealed, TALLY_KEEPALIVES_OUT, 1);
}

/* attend(): does what the main thread has asked for since, and forgets that the event was signalled. */
napi_value attend(napi_env env, napi_callback_info info) {
  (void)info;
  struct path *path;
  struct sealed *sealed = attached_sealed(env, &path, "attend");
  if (sealed == NULL) return NULL;
  start_tally(sealed, path);
  uint64_t signalled;
  /* EAGAIN: it was not. */
  if (read(path->event, &signalled, sizeof signalled) < 0 && errno != EAGAIN) return throw_errno(env, errno, "read", "eventfd");
  int32_t requests;
  /* Each peer is on the list once: more cannot be there. */
  for (int32_t i = 0; i < sealed->line_count; i++) {
    int32_t line = next_request(sealed, &requests);
    if (line == 0) break;
    if (requests & REQUEST_DROP_STAGED) drop_staged(sealed, line);
    int32_t sent = send_staged(sealed, path, line);
    if ((requests & REQUEST_KEEPALIVE) && sent == 0) send_keepalive(sealed, path, line);
  }
  return NULL;
}

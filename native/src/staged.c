/*
 * Packets that wait for a session of their peer, in a ring of bytes: | line, length | packet | line, length | ... A line of 0 is
 * nobody's any more. When there is no room for a new one, the oldest goes, whosever it is; no peer has more than a quarter.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "sessions.h"

#define ENTRY_BYTES 4
/* Sent at once. */
#define MAX_AT_ONCE 64

struct entry {
  uint16_t line, length;
};

bool staged_open(struct staged *staged, int32_t lines) {
  staged->bytes = malloc(STAGED_BYTES);
  staged->of_peer = calloc((size_t)lines, sizeof *staged->of_peer);
  return staged->bytes != NULL && staged->of_peer != NULL;
}

void staged_close(struct staged *staged) {
  free(staged->bytes);
  free(staged->of_peer);
}

static uint8_t *place(const struct staged *staged, uint32_t at) { return staged->bytes + at % STAGED_BYTES; }

static struct entry entry_at(const struct staged *staged, uint32_t at) {
  struct entry entry;
  memcpy(&entry, place(staged, at), sizeof entry);
  return entry;
}

static void put_entry(struct staged *staged, uint32_t at, uint16_t line, uint16_t length) {
  struct entry entry = {line, length};
  memcpy(place(staged, at), &entry, sizeof entry);
}

static uint32_t room_for(size_t length) { return (uint32_t)(ENTRY_BYTES + length + 3) & ~(uint32_t)3; }

static void forget(struct staged *staged, uint32_t at) {
  struct entry entry = entry_at(staged, at);
  if (entry.line == 0) return;
  staged->of_peer[entry.line].packets--;
  staged->of_peer[entry.line].bytes -= entry.length;
  put_entry(staged, at, 0, entry.length);
}

static void drop_oldest(struct sealed *sealed) {
  struct staged *staged = &sealed->staged;
  struct entry entry = entry_at(staged, staged->head);
  if (entry.line != 0) count_in(sealed, TALLY_STAGED_DROPPED, 1);
  forget(staged, staged->head);
  staged->head += room_for(entry.length);
}

static void make_room(struct sealed *sealed, uint32_t bytes) {
  struct staged *staged = &sealed->staged;
  while (staged->tail + bytes - staged->head > STAGED_BYTES) drop_oldest(sealed);
}

void stage_packet(struct sealed *sealed, int32_t line, const uint8_t *packet, size_t length) {
  struct staged *staged = &sealed->staged;
  if (staged->of_peer[line].packets >= STAGED_PACKETS_OF_A_PEER ||
      staged->of_peer[line].bytes + length > STAGED_BYTES_OF_A_PEER) {
    return count_in(sealed, TALLY_STAGED_DROPPED, 1);
  }
  uint32_t bytes = room_for(length), left = STAGED_BYTES - staged->tail % STAGED_BYTES;
  /* Packets lie in one piece: what is left at the end is skipped. It may be more than an entry can say. */
  while (left < bytes && left > 0) {
    uint32_t skipped = left > 32768 ? 32768 : left;
    make_room(sealed, skipped);
    put_entry(staged, staged->tail, 0, (uint16_t)(skipped - ENTRY_BYTES));
    staged->tail += skipped;
    left -= skipped;
  }
  make_room(sealed, bytes);
  put_entry(staged, staged->tail, (uint16_t)line, (uint16_t)length);
  memcpy(place(staged, staged->tail) + ENTRY_BYTES, packet, length);
  staged->tail += bytes;
  staged->of_peer[line].bytes += (uint32_t)length;
  if (staged->of_peer[line].packets++ == 0) want_session(sealed, line);
}

void drop_staged(struct sealed *sealed, int32_t line) {
  struct staged *staged = &sealed->staged;
  for (uint32_t at = staged->head; has_staged(sealed, line) && at != staged->tail; at += room_for(entry_at(staged, at).length)) {
    if (entry_at(staged, at).line != line) continue;
    count_in(sealed, TALLY_STAGED_DROPPED, 1);
    forget(staged, at);
  }
}

/* Those that lie in the scratch part of the slab. */
static void send_all(struct sealed *sealed, const struct path *path, struct aead_job *jobs, struct iovec *packets, int count,
                     struct sockaddr_in *to) {
  aead_seal(jobs, (size_t)count);
  struct mmsghdr messages[MAX_AT_ONCE];
  for (int i = 0; i < count; i++) {
    messages[i].msg_hdr =
        (struct msghdr){.msg_name = to, .msg_namelen = sizeof *to, .msg_iov = &packets[i], .msg_iovlen = 1};
  }
  int sent = sendmmsg(path->udp, messages, (unsigned)count, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) sent = 0;
  count_in(sealed, TALLY_STAGED_SENT, sent);
  count_in(sealed, TALLY_STAGED_FAILED, count - sent);
  for (int i = 0; i < sent; i++) count_in(sealed, TALLY_STAGED_BYTES, (int32_t)jobs[i].text);
}

int32_t send_staged(struct sealed *sealed, const struct path *path, int32_t line) {
  struct staged *staged = &sealed->staged;
  struct session_key key;
  struct sockaddr_in to;
  struct aead_job jobs[MAX_AT_ONCE];
  struct iovec packets[MAX_AT_ONCE];
  int32_t all = 0;
  int count = 0;
  if (!has_staged(sealed, line) || !endpoint_of(sealed, line, &to) || !sending_key(sealed, line, &key)) return 0;
  uint8_t *const scratch = sealed->slab + SEALED_BYTES, *end = scratch;
  for (uint32_t at = staged->head; has_staged(sealed, line) && at != staged->tail;) {
    struct entry entry = entry_at(staged, at);
    const uint8_t *packet = place(staged, at) + ENTRY_BYTES;
    uint32_t next = at + room_for(entry.length);
    if (entry.line == line) {
      uint64_t number;
      if (!claim_numbers(&key, 1, &number)) break;
      uint8_t *start = end;
      end = lay_out_packet(sealed, &jobs[count], &key, number, packet, entry.length, start);
      packets[count++] = (struct iovec){start, (size_t)(end - start)};
      forget(staged, at);
      all++;
    }
    at = next;
    bool is_last = at == staged->tail || !has_staged(sealed, line);
    if (count > 0 && (is_last || count == MAX_AT_ONCE || (size_t)(end - scratch) + SLOT_BYTES > SEALED_SCRATCH_BYTES)) {
      send_all(sealed, path, jobs, packets, count, &to);
      count = 0;
      end = scratch;
    }
  }
  if (count > 0) send_all(sealed, path, jobs, packets, count, &to);
  if (all > 0) peer_sent(sealed, line, true);
  explicit_bzero(&key, sizeof key);
  return all;
}

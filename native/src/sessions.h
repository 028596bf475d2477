/*
 * The sessions of a sealed wire, on memory that the main thread and the worker share. A peer has a line, by its number, and a
 * line has slots for keys; JavaScript knows all this by the same names (session-layout.ts), and a test compares.
 *
 *     header    settings, heads and tails of the rings, what the last call has counted
 *     line      | head: who sends, endpoint, when what was sent | slot | slot | slot | slot |
 *     index     | generation 14 | peer number 16 | slot 2 |        by which a peer names our end of a session
 *
 * One writer each. The main thread writes keys, indices and states; the worker counters, windows, times and flags. A slot is
 * used in this order: look at state and index, copy the key, claim numbers, look again. If the main thread has given the slot
 * to another key meanwhile, the copy is not used. So no nonce is used twice.
 */
#ifndef RUDDER_SESSIONS_H
#define RUDDER_SESSIONS_H

#include <netinet/in.h>

#include "aead.h"
#include "rudder.h"

enum session_header {
  HEADER_MTU,             /* of the tunnel: nothing is padded beyond it */
  HEADER_REJECT_AFTER_MS, /* a key as old as that is none any more */
  HEADER_MAC_KEY,         /* of mac1 in messages for us */
  HEADER_MAIL_TAIL = HEADER_MAC_KEY + 8,
  HEADER_MAIL_HEAD,
  HEADER_ATTENTION_TAIL,
  HEADER_ATTENTION_HEAD,
  HEADER_REQUEST_TAIL,
  HEADER_REQUEST_HEAD,
  HEADER_BELL, /* of the main thread: JavaScript rings it */
  HEADER_TALLY = 32,
  HEADER_INTS = 64,
};

/* What the last call on the wire has counted, behind HEADER_TALLY. */
enum tally {
  TALLY_NEWS, /* for the main thread: mail, or attention */
  TALLY_NO_SESSION,
  TALLY_BAD_TAG,
  TALLY_REPLAY,
  TALLY_BAD_MAC,
  TALLY_MAILBOX_FULL,
  TALLY_MALFORMED,
  TALLY_TRUNCATED,
  TALLY_SEGMENTS,
  TALLY_KEEPALIVES_IN,
  TALLY_HANDSHAKES_IN,
  TALLY_STAGED_DROPPED,
  TALLY_KEEPALIVES_OUT,
  TALLY_STAGED_SENT,
  TALLY_STAGED_BYTES,
  TALLY_STAGED_FAILED,
  TALLY_INTS,
};

enum line_field {
  LINE_CURRENT, /* index of the key that sends, or 0 */
  LINE_ATTENTION,
  LINE_ADDRESS, /* with the port one number of 64 bits */
  LINE_PORT,
  LINE_REQUESTS,
  LINE_SENT, /* in milliseconds of the path's clock, 0: never */
  LINE_RECEIVED,
  LINE_UNANSWERED_SINCE,
  LINE_OWED_SINCE,
  LINE_HEAD_INTS = 16,
  LINE_INTS = 128,
};

enum slot_field {
  SLOT_INDEX,
  SLOT_STATE,
  SLOT_REMOTE_INDEX,
  SLOT_BORN_AT,
  SLOT_SEND_COUNTER,                     /* the next one; two int32 */
  SLOT_RECEIVED = SLOT_SEND_COUNTER + 2, /* one more than the greatest counter received; two int32 */
  SLOT_IS_CONFIRMED = SLOT_RECEIVED + 2,
  SLOT_SEND_KEY = 12,
  SLOT_RECEIVE_KEY = SLOT_SEND_KEY + AEAD_KEY_WORDS,
  SLOT_INTS = SLOT_RECEIVE_KEY + AEAD_KEY_WORDS,
};

enum slot_state { SLOT_EMPTY, SLOT_RESERVED, SLOT_INSTALLED };

#define LINE_SLOTS 4
#define INDEX_SLOT_BITS 2
#define INDEX_LINE_BITS 16
#define MAX_LINES (1 << INDEX_LINE_BITS)

/* Bits of LINE_ATTENTION and of LINE_REQUESTS. */
enum { ATTENTION_WANTS_SESSION = 1, ATTENTION_CONFIRMED = 2 };
enum { REQUEST_SEND_STAGED = 1, REQUEST_KEEPALIVE = 2, REQUEST_DROP_STAGED = 4 };

/* RFC 6479: a window of bits, one word less than it has. */
#define WINDOW_INTS 256
#define WINDOW_BITS (32 * WINDOW_INTS)

/* A message of a handshake, as it was received. */
enum mail_field { MAIL_LENGTH, MAIL_ADDRESS, MAIL_PORT, MAIL_BYTES, MAIL_INTS = MAIL_BYTES + 37 };
#define MAILBOX_SIZE 64

/* A packet that was opened, in the inbound slab. */
enum opened_field { OPENED_OFFSET, OPENED_LENGTH, OPENED_PEER, OPENED_INTS };

enum message_type { MESSAGE_INITIATION = 1, MESSAGE_RESPONSE, MESSAGE_COOKIE, MESSAGE_DATA };
#define INITIATION_BYTES 148
#define RESPONSE_BYTES 92
#define COOKIE_BYTES 64
#define DATA_HEADER_BYTES 16
#define DATA_OVERHEAD (DATA_HEADER_BYTES + AEAD_TAG_BYTES)
/* Both MACs end a message, the first one covers all before it. */
#define MACS_BYTES 32

#define REJECT_AFTER_MESSAGES (UINT64_MAX - ((uint64_t)1 << 13))

#define MAX_DATAGRAM_BYTES 65507

struct sealed_message {
  int error; /* 0: it lies there, sealed */
  struct sockaddr_in to;
  uint8_t *bytes;
  size_t length;
  uint16_t segment; /* 0: one datagram */
};

/* Packets of peers without a session, in the order of their arrival: staged.c. */
#define STAGED_BYTES ((uint32_t)1 << 18)
#define STAGED_PACKETS_OF_A_PEER 128
#define STAGED_BYTES_OF_A_PEER (STAGED_BYTES / 4)

struct staged {
  uint8_t *bytes;
  uint32_t head, tail; /* they count on, modulo 2^32 */
  struct {
    uint16_t packets;
    uint32_t bytes;
  } *of_peer;
};

/* The slab of what is sealed has room for some trains, and behind it for one message: that of the last record, or staged ones. */
#define SEALED_BYTES ((size_t)1 << 20)
#define SEALED_SCRATCH_BYTES ((size_t)1 << 17)
#define MAX_SEALED_JOBS 2304

struct session_key {
  int32_t line, index, remote_index;
  int32_t *slot;
  uint32_t key[AEAD_KEY_WORDS];
};

struct sealed {
  int32_t *header, *lines, *windows, *mailbox, *attention, *requests;
  int32_t line_count; /* 0 is nobody's */
  uint32_t ring_mask;
  struct records opened;
  uint8_t *slab;
  struct sealed_message messages[MAX_MESSAGES];
  int32_t ready_from, ready_to; /* the messages that lie in the slab; that of the last record is apart */
  struct staged staged;
  struct aead_job jobs[MAX_SEALED_JOBS];
  struct session_key keys[MAX_SEALED_JOBS];
  /* As of the beginning of a call: what is measured and what is written must not differ by what the main thread does. */
  int64_t now_ms;
  size_t mtu;
};

/* --- sessions.c --- */

/* The attached path's; throws if it has none. */
struct sealed *attached_sealed(napi_env env, struct path **path, const char *caller);
void sealed_release(struct path *path);

static inline int32_t *line_at(const struct sealed *sealed, int32_t line) {
  return sealed->lines + (size_t)line * LINE_INTS;
}
static inline void count_in(struct sealed *sealed, enum tally what, int32_t amount) {
  sealed->header[HEADER_TALLY + what] += amount;
}
void start_tally(struct sealed *sealed, const struct path *path);

/* The key by which packets for a peer are sealed now; false: there is none, and nothing to be wiped. */
bool sending_key(struct sealed *sealed, int32_t line, struct session_key *key);
/* The key behind an index that a packet names; false: there is none. */
bool receiving_key(struct sealed *sealed, int32_t index, struct session_key *key);
/* Gives out the numbers of so many packets; false: the key must not be used (any more). */
bool claim_numbers(const struct session_key *key, uint64_t count, uint64_t *first);
/* True once for each number, if it is not too old; and only while the slot is that key's. */
bool is_new(const struct sealed *sealed, const struct session_key *key, uint64_t number);
/* False: not known yet. */
bool endpoint_of(const struct sealed *sealed, int32_t line, struct sockaddr_in *to);
void peer_sent(struct sealed *sealed, int32_t line, bool is_data);
void peer_received(struct sealed *sealed, const struct session_key *key, bool is_data, int32_t address, int32_t port);
void want_session(struct sealed *sealed, int32_t line);
/* A message that is no data: to the main thread, if it may be for us. */
void take_mail(struct sealed *sealed, const uint8_t *bytes, size_t length, int32_t address, int32_t port);
/* The next peer of whom the main thread wants something; 0: none. */
int32_t next_request(struct sealed *sealed, int32_t *requests);

/* --- seal.c --- */

/* Header, text, zeroes up to the padded length, tag. Returns where it ends; the job still has to be done. */
uint8_t *lay_out_packet(struct sealed *sealed, struct aead_job *job, const struct session_key *key, uint64_t number,
                        const uint8_t *text, size_t length, uint8_t *to);

/* --- staged.c --- */

bool staged_open(struct staged *staged, int32_t lines);
void staged_close(struct staged *staged);
/* Keeps a copy; what there is no room for is counted. */
void stage_packet(struct sealed *sealed, int32_t line, const uint8_t *packet, size_t length);
void drop_staged(struct sealed *sealed, int32_t line);
/* Seals and sends what waits for that peer, if it has a session now; returns how many packets. */
int32_t send_staged(struct sealed *sealed, const struct path *path, int32_t line);

static inline bool has_staged(const struct sealed *sealed, int32_t line) {
  return sealed->staged.of_peer[line].packets > 0;
}

#endif

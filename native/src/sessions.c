/* See sessions.h: attaching its memory, keys and their numbers, and what the two threads tell each other. */
#include "sessions.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blake2s.h"

/* Two int32 of the shared memory as one number. */
typedef uint64_t shared64 __attribute__((may_alias));

static int32_t load(const int32_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static void store(int32_t *at, int32_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }

/* --- attaching --- */

enum property { SESSIONS, WINDOWS, MAILBOX, ATTENTION, REQUESTS, OPENED, PROPERTIES };

static const char *const NAMES[PROPERTIES] = {
    [SESSIONS] = "sessions",   [WINDOWS] = "windows",   [MAILBOX] = "mailbox",
    [ATTENTION] = "attention", [REQUESTS] = "requests", [OPENED] = "opened",
};

static void sealed_free(struct sealed *sealed) {
  staged_close(&sealed->staged);
  free(sealed->slab);
  explicit_bzero(sealed, sizeof *sealed);
  free(sealed);
}

void sealed_release(struct path *path) {
  if (path->sealed != NULL) sealed_free(path->sealed);
  path->sealed = NULL;
}

static bool is_power_of_two(size_t number) { return number != 0 && (number & (number - 1)) == 0; }

/* Whether the arrays are as large as the first one says that they have to be. */
static bool check_sizes(napi_env env, const size_t *lengths, struct sealed *sealed, void *const *data) {
  size_t lines = lengths[SESSIONS] < HEADER_INTS ? 0 : (lengths[SESSIONS] - HEADER_INTS) / LINE_INTS;
  if (lines < 2 || lines > MAX_LINES || (uintptr_t)data[SESSIONS] % sizeof(uint64_t) != 0) {
    return throw_range(env, NAMES[SESSIONS], "expected a header and 2 to 65536 lines, at a multiple of 8");
  }
  if (lengths[WINDOWS] / WINDOW_INTS / LINE_SLOTS < lines) {
    return throw_range(env, NAMES[WINDOWS], "expected a window for each slot of each line");
  }
  if (lengths[MAILBOX] < MAILBOX_SIZE * MAIL_INTS) return throw_range(env, NAMES[MAILBOX], "expected room for 64 messages");
  if (!is_power_of_two(lengths[ATTENTION]) || lengths[ATTENTION] < lines) {
    return throw_range(env, NAMES[ATTENTION], "expected a power of two, and room for each line");
  }
  if (lengths[REQUESTS] != lengths[ATTENTION]) return throw_range(env, NAMES[REQUESTS], "expected as many as of attention");
  sealed->line_count = (int32_t)lines;
  sealed->ring_mask = (uint32_t)lengths[ATTENTION] - 1;
  return true;
}

static bool take_memory(napi_env env, const napi_value *values, struct path *path, struct sealed *sealed) {
  void *data[PROPERTIES];
  size_t lengths[PROPERTIES];
  for (int i = 0; i < PROPERTIES; i++) {
    if (!take_ints(env, values[i], NAMES[i], path, &data[i], &lengths[i])) return false;
  }
  if (!check_sizes(env, lengths, sealed, data)) return false;
  sealed->header = data[SESSIONS];
  sealed->lines = sealed->header + HEADER_INTS;
  sealed->windows = data[WINDOWS];
  sealed->mailbox = data[MAILBOX];
  sealed->attention = data[ATTENTION];
  sealed->requests = data[REQUESTS];
  sealed->opened = (struct records){data[OPENED], lengths[OPENED] / OPENED_INTS};
  sealed->slab = aligned_alloc(64, SEALED_BYTES + SEALED_SCRATCH_BYTES);
  if (sealed->slab != NULL && staged_open(&sealed->staged, sealed->line_count)) return true;
  throw_errno(env, ENOMEM, "attachSealed", NULL);
  return false;
}

/*
 * attachSealed({sessions, windows, ...}): from now on the attached path's wire is a sealed one. As in attach(), to read a property
 * may run JavaScript, so all are read first; and a throw may, so nothing is the path's before all is right.
 */
napi_value attach_sealed(napi_env env, napi_callback_info info) {
  napi_value arguments[1], values[PROPERTIES];
  if (!get_arguments(env, info, 1, arguments)) return NULL;
  if (!get_properties(env, arguments[0], "sessions", NAMES, PROPERTIES, values)) return NULL;
  struct path *path = attached_path(env, "attachSealed"), taken = DETACHED_PATH;
  if (path == NULL) return NULL;
  if (path->sealed != NULL) return throw_errno(env, EEXIST, "attachSealed", "it is sealed already");
  struct sealed *sealed = calloc(1, sizeof *sealed);
  if (sealed == NULL) return throw_errno(env, ENOMEM, "attachSealed", NULL);
  if (!take_memory(env, values, &taken, sealed)) {
    sealed_free(sealed);
    path_release(env, &taken);
    return NULL;
  }
  for (size_t i = 0; i < taken.reference_count; i++) path->references[path->reference_count++] = taken.references[i];
  sealed->messages[MAX_MESSAGES - 1].error = EINVAL; /* nothing is there yet */
  path->sealed = sealed;
  return NULL;
}

struct sealed *attached_sealed(napi_env env, struct path **path, const char *caller) {
  *path = attached_path(env, caller);
  if (*path == NULL) return NULL;
  if ((*path)->sealed != NULL) return (*path)->sealed;
  throw_errno(env, EBADF, caller, "the path is not sealed");
  return NULL;
}

void start_tally(struct sealed *sealed, const struct path *path) {
  memset(sealed->header + HEADER_TALLY, 0, TALLY_INTS * sizeof(int32_t));
  sealed->now_ms = *path->clock_ms & INT32_MAX;
  sealed->mtu = (size_t)(uint32_t)load(&sealed->header[HEADER_MTU]);
}

/* --- keys --- */

static int32_t *slot_at(const struct sealed *sealed, int32_t line, int32_t slot) {
  return line_at(sealed, line) + LINE_HEAD_INTS + (size_t)slot * SLOT_INTS;
}

static bool is_still(const int32_t *slot, int32_t index) {
  return load(&slot[SLOT_STATE]) == SLOT_INSTALLED && load(&slot[SLOT_INDEX]) == index;
}

/* The clock wraps; a key that looks almost as old as a whole turn is a little ahead of the coarse clock of this thread. */
static bool is_too_old(const struct sealed *sealed, int32_t born_at) {
  int32_t age = (int32_t)((sealed->now_ms - born_at) & INT32_MAX);
  return age >= load(&sealed->header[HEADER_REJECT_AFTER_MS]) && age < INT32_MAX - (1 << 20);
}

static int32_t line_of(int32_t index) { return (int32_t)((uint32_t)index >> INDEX_SLOT_BITS) & (MAX_LINES - 1); }

static bool copy_key(struct sealed *sealed, int32_t index, enum slot_field which, struct session_key *key) {
  int32_t line = line_of(index);
  if (index == 0 || line < 1 || line >= sealed->line_count) return false;
  int32_t *slot = slot_at(sealed, line, index & (LINE_SLOTS - 1));
  if (!is_still(slot, index) || is_too_old(sealed, load(&slot[SLOT_BORN_AT]))) return false;
  *key = (struct session_key){.line = line, .index = index, .remote_index = load(&slot[SLOT_REMOTE_INDEX]), .slot = slot};
  copy_ints((int32_t *)key->key, slot + which, AEAD_KEY_WORDS);
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (is_still(slot, index)) return true;
  explicit_bzero(key, sizeof *key);
  return false;
}

bool sending_key(struct sealed *sealed, int32_t line, struct session_key *key) {
  int32_t index = load(line_at(sealed, line) + LINE_CURRENT);
  return line_of(index) == line && copy_key(sealed, index, SLOT_SEND_KEY, key);
}

bool receiving_key(struct sealed *sealed, int32_t index, struct session_key *key) {
  return copy_key(sealed, index, SLOT_RECEIVE_KEY, key);
}

bool claim_numbers(const struct session_key *key, uint64_t count, uint64_t *first) {
  shared64 *counter = (shared64 *)(key->slot + SLOT_SEND_COUNTER);
  *first = __atomic_load_n(counter, __ATOMIC_SEQ_CST);
  uint64_t next = *first + count;
  if (*first > REJECT_AFTER_MESSAGES || next > REJECT_AFTER_MESSAGES) return false;
  /* It fails if the main thread has begun anew, for another key; and what has been given to another key since is not ours. */
  return __atomic_compare_exchange_n(counter, first, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) &&
         is_still(key->slot, key->index);
}

bool is_new(const struct sealed *sealed, const struct session_key *key, uint64_t number) {
  if (!is_still(key->slot, key->index)) return false;
  int32_t *window = sealed->windows + ((size_t)key->line * LINE_SLOTS + (size_t)(key->index & (LINE_SLOTS - 1))) * WINDOW_INTS;
  shared64 *received = (shared64 *)(key->slot + SLOT_RECEIVED);
  uint64_t next = __atomic_load_n(received, __ATOMIC_RELAXED);
  if (number < next && next - number > WINDOW_BITS - 32) return false;
  if (number >= next) {
    uint64_t last = next == 0 ? 0 : (next - 1) / 32;
    uint64_t words = number / 32 - last;
    if (words > WINDOW_INTS) words = WINDOW_INTS;
    for (uint64_t i = 0; i < words; i++) window[(number / 32 - i) % WINDOW_INTS] = 0;
    __atomic_store_n(received, number + 1, __ATOMIC_RELAXED);
  }
  uint32_t bit = (uint32_t)1 << number % 32, word = (uint32_t)window[number / 32 % WINDOW_INTS];
  window[number / 32 % WINDOW_INTS] = (int32_t)(word | bit);
  return (word & bit) == 0;
}

/* --- what is known of a peer --- */

bool endpoint_of(const struct sealed *sealed, int32_t line, struct sockaddr_in *to) {
  uint64_t endpoint = __atomic_load_n((shared64 *)(line_at(sealed, line) + LINE_ADDRESS), __ATOMIC_RELAXED);
  *to = (struct sockaddr_in){.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)(endpoint >> 32)),
                             .sin_addr.s_addr = htonl((uint32_t)endpoint)};
  return to->sin_port != 0;
}

/* A time that is not "never". */
static int32_t time_of(const struct sealed *sealed) { return (int32_t)sealed->now_ms | 1; }

static void begin(int32_t *since, int32_t time) {
  if (load(since) == 0) store(since, time);
}

void peer_sent(struct sealed *sealed, int32_t line, bool is_data) {
  int32_t *head = line_at(sealed, line);
  store(&head[LINE_SENT], time_of(sealed));
  store(&head[LINE_OWED_SINCE], 0);
  if (is_data) begin(&head[LINE_UNANSWERED_SINCE], time_of(sealed));
}

/* Has the main thread look at a peer; it is on the list once, so there is always room. */
static void raise_attention(struct sealed *sealed, int32_t line, int32_t bit) {
  int32_t *head = line_at(sealed, line);
  if (__atomic_fetch_or(&head[LINE_ATTENTION], bit, __ATOMIC_SEQ_CST) != 0) return;
  uint32_t tail = (uint32_t)load(&sealed->header[HEADER_ATTENTION_TAIL]);
  store(&sealed->attention[tail & sealed->ring_mask], line);
  store(&sealed->header[HEADER_ATTENTION_TAIL], (int32_t)(tail + 1));
  count_in(sealed, TALLY_NEWS, 1);
}

void peer_received(struct sealed *sealed, const struct session_key *key, bool is_data, int32_t address, int32_t port) {
  int32_t *head = line_at(sealed, key->line);
  store(&head[LINE_RECEIVED], time_of(sealed));
  store(&head[LINE_UNANSWERED_SINCE], 0);
  if (is_data) begin(&head[LINE_OWED_SINCE], time_of(sealed));
  uint64_t endpoint = (uint64_t)(uint32_t)port << 32 | (uint32_t)address;
  shared64 *known = (shared64 *)(head + LINE_ADDRESS);
  if (__atomic_load_n(known, __ATOMIC_RELAXED) != endpoint) __atomic_store_n(known, endpoint, __ATOMIC_RELAXED);
  if (load(&key->slot[SLOT_IS_CONFIRMED]) != 0) return;
  store(&key->slot[SLOT_IS_CONFIRMED], 1);
  if (load(&head[LINE_CURRENT]) != key->index) raise_attention(sealed, key->line, ATTENTION_CONFIRMED);
}

void want_session(struct sealed *sealed, int32_t line) { raise_attention(sealed, line, ATTENTION_WANTS_SESSION); }

int32_t next_request(struct sealed *sealed, int32_t *requests) {
  uint32_t head = (uint32_t)load(&sealed->header[HEADER_REQUEST_HEAD]);
  if (head == (uint32_t)load(&sealed->header[HEADER_REQUEST_TAIL])) return 0;
  int32_t line = load(&sealed->requests[head & sealed->ring_mask]);
  store(&sealed->header[HEADER_REQUEST_HEAD], (int32_t)(head + 1));
  if (line < 1 || line >= sealed->line_count) return 0;
  *requests = __atomic_exchange_n(line_at(sealed, line) + LINE_REQUESTS, 0, __ATOMIC_SEQ_CST);
  return line;
}

/* --- mail --- */

static int32_t index_at(const uint8_t *bytes) {
  return (int32_t)((uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24);
}

/* What answers a handshake must name one: of ours under way, or, a cookie, also one whose answer was ours. */
static bool is_expected(const struct sealed *sealed, int32_t index, bool is_cookie) {
  int32_t line = (int32_t)((uint32_t)index >> INDEX_SLOT_BITS) & (MAX_LINES - 1);
  if (index == 0 || line < 1 || line >= sealed->line_count) return false;
  const int32_t *slot = slot_at(sealed, line, index & (LINE_SLOTS - 1));
  int32_t state = load(&slot[SLOT_STATE]);
  return load(&slot[SLOT_INDEX]) == index && (state == SLOT_RESERVED || (is_cookie && state == SLOT_INSTALLED));
}

static bool has_mac(const struct sealed *sealed, const uint8_t *bytes, size_t length) {
  uint8_t mac[MAC_BYTES], difference = 0;
  const uint8_t *key = (const uint8_t *)(sealed->header + HEADER_MAC_KEY);
  size_t covered = length - MACS_BYTES;
  blake2s_mac(key, MAC_MAX_KEY_BYTES, bytes, covered, mac);
  for (size_t i = 0; i < MAC_BYTES; i++) difference |= mac[i] ^ bytes[covered + i];
  return difference == 0;
}

void take_mail(struct sealed *sealed, const uint8_t *bytes, size_t length, int32_t address, int32_t port) {
  int32_t type = index_at(bytes);
  bool is_whole = (type == MESSAGE_INITIATION && length == INITIATION_BYTES) ||
                  (type == MESSAGE_RESPONSE && length == RESPONSE_BYTES) || (type == MESSAGE_COOKIE && length == COOKIE_BYTES);
  if (!is_whole) return count_in(sealed, TALLY_MALFORMED, 1);
  if (type == MESSAGE_RESPONSE && !is_expected(sealed, index_at(bytes + 8), false)) return count_in(sealed, TALLY_NO_SESSION, 1);
  if (type == MESSAGE_COOKIE && !is_expected(sealed, index_at(bytes + 4), true)) return count_in(sealed, TALLY_NO_SESSION, 1);
  if (type != MESSAGE_COOKIE && !has_mac(sealed, bytes, length)) return count_in(sealed, TALLY_BAD_MAC, 1);
  uint32_t tail = (uint32_t)load(&sealed->header[HEADER_MAIL_TAIL]);
  if (tail - (uint32_t)load(&sealed->header[HEADER_MAIL_HEAD]) >= MAILBOX_SIZE) return count_in(sealed, TALLY_MAILBOX_FULL, 1);
  int32_t *mail = sealed->mailbox + (size_t)(tail % MAILBOX_SIZE) * MAIL_INTS;
  mail[MAIL_LENGTH] = (int32_t)length;
  mail[MAIL_ADDRESS] = address;
  mail[MAIL_PORT] = port;
  memcpy(mail + MAIL_BYTES, bytes, length);
  store(&sealed->header[HEADER_MAIL_TAIL], (int32_t)(tail + 1));
  count_in(sealed, TALLY_HANDSHAKES_IN, 1);
  count_in(sealed, TALLY_NEWS, 1);
}

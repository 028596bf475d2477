/*
 * A sealed wire in the fuzzer: sessions as the main thread would write them, right ones and others, and datagrams of which some
 * are sealed by a key that is there. What is opened must be what was sealed; AddressSanitizer and UBSan check the rest.
 */
#include <stdlib.h>
#include <string.h>

#include "../../native/src/sessions.h"
#include "fuzz.h"

static const char *const NAMES[] = {"sessions", "windows", "mailbox", "attention", "requests", "opened"};
enum { PROPERTIES = COUNT(NAMES), LINES = 4, RING = 4, OPENED = 40, TEXT_BYTES = 100 };

static napi_value next_ints(size_t count) {
  uint8_t choice = next_byte();
  size_t length = choice == 255 ? count - 1 : choice == 254 ? count + 1 : choice == 253 ? (size_t)next_byte() : count;
  enum sharing sharing = next_byte() == 255 ? (enum sharing)(next_byte() % 3) : FIXED;
  return make_array(napi_int32_array, make_buffer(sharing, length * sizeof(int32_t)), 0, length);
}

static int32_t index_of(int32_t line, int32_t slot) { return 1 << 18 | line << INDEX_SLOT_BITS | slot; }

/* A line's keys: the second half of the numbers that an input can say are out of order. */
static void fill_sessions(const struct sealed *sealed) {
  sealed->header[HEADER_MTU] = next_byte() < 240 ? 1420 : next_int();
  sealed->header[HEADER_REJECT_AFTER_MS] = next_byte() < 240 ? INT32_MAX : next_int();
  for (int32_t line = 1; line < sealed->line_count && line < LINES; line++) {
    int32_t *head = line_at(sealed, line);
    for (int32_t slot = 0; slot < LINE_SLOTS; slot++) {
      int32_t *ints = head + LINE_HEAD_INTS + slot * SLOT_INTS;
      ints[SLOT_INDEX] = next_byte() < 240 ? index_of(line, slot) : next_int();
      ints[SLOT_STATE] = next_byte() % 4 ? SLOT_INSTALLED : next_byte() % 4;
      if (next_byte() % 16 == 0) ints[SLOT_SEND_COUNTER] = next_int(), ints[SLOT_SEND_COUNTER + 1] = next_byte() % 2 ? -1 : 0;
      if (next_byte() % 16 == 0) ints[SLOT_RECEIVED] = next_int(), ints[SLOT_RECEIVED + 1] = next_int();
    }
    head[LINE_CURRENT] = next_byte() < 192 ? index_of(line, 0) : next_byte() < 128 ? 0 : next_int();
    head[LINE_PORT] = next_byte() < 240 ? 51820 : next_int();
    head[LINE_REQUESTS] = next_byte() % 8;
    sealed->requests[next_byte() & sealed->ring_mask] = line;
  }
  sealed->header[HEADER_REQUEST_TAIL] = sealed->header[HEADER_REQUEST_HEAD] + next_byte() % RING;
  if (next_byte() == 255) sealed->header[HEADER_MAIL_HEAD + next_byte() % 5] = next_int();
}

void call_attach_sealed(struct path *path) {
  static const size_t counts[PROPERTIES] = {HEADER_INTS + LINES * LINE_INTS, LINES *LINE_SLOTS *WINDOW_INTS,
                                            MAILBOX_SIZE *MAIL_INTS, RING, RING, OPENED *OPENED_INTS};
  napi_value values[PROPERTIES];
  for (size_t i = 0; i < PROPERTIES; i++) values[i] = next_ints(counts[i]);
  if (next_byte() == 255) values[next_byte() % PROPERTIES] = next_argument(0);
  napi_value object = next_byte() == 255 ? next_argument(0) : make_object(NAMES, values, PROPERTIES);
  call(attach_sealed, 1, &object);
  take_exception();
  if (path->sealed != NULL) fill_sessions(path->sealed);
}

/* A datagram for our own sessions, whose keys are all 0, or a message that is none. */
size_t next_sealed(uint8_t *to, size_t room) {
  static const uint32_t zero[AEAD_KEY_WORDS];
  static const uint8_t sizes[] = {INITIATION_BYTES, RESPONSE_BYTES, COOKIE_BYTES};
  if (room < DATA_OVERHEAD + TEXT_BYTES || next_byte() < 64) return 0;
  uint8_t kind = next_byte() % 8;
  int32_t index = index_of(next_byte() % LINES, next_byte() % LINE_SLOTS);
  memset(to, 0, room < 200 ? room : 200);
  to[0] = kind < 3 ? (uint8_t)(kind + 1) : MESSAGE_DATA;
  memcpy(to + (kind == 1 ? 8 : 4), &index, sizeof index);
  if (kind < 3) return sizes[kind];
  uint8_t text[TEXT_BYTES] = {0x45, 0, 0, next_byte()};
  uint32_t number = next_byte() % 16 ? next_byte() : (uint32_t)next_int();
  memcpy(to + 8, &number, sizeof number);
  struct aead_job job = {.source = text, .target = to + DATA_HEADER_BYTES, .key = zero, .counter = number};
  job.text = job.length = next_byte() % TEXT_BYTES;
  aead_seal(&job, 1);
  if (next_byte() % 8 == 0) to[next_byte() % (job.length + DATA_OVERHEAD)] ^= 1;
  return job.length + DATA_OVERHEAD;
}

static void check_opened(const struct path *path, double count) {
  const struct sealed *sealed = path->sealed;
  if (count > (double)sealed->opened.count) abort();
  for (int i = 0; i < count; i++) {
    const int32_t *record = sealed->opened.data + i * OPENED_INTS;
    if (record[OPENED_PEER] < 1 || record[OPENED_PEER] >= sealed->line_count || record[OPENED_LENGTH] < 1) abort();
    if (record[OPENED_OFFSET] < 0 || (size_t)record[OPENED_OFFSET] + (size_t)record[OPENED_LENGTH] > path->slabs[SLAB_INBOUND].size) abort();
    if (path->slabs[SLAB_INBOUND].data[record[OPENED_OFFSET]] != 0x45) abort();
  }
}

void call_sealed(struct path *path) {
  uint8_t usual = next_byte();
  if (path->sealed != NULL && next_byte() % 4 == 0) fill_sessions(path->sealed);
  /* Peers of the messages that are there. */
  for (size_t i = 0; i < 8 && i < path->sends.count; i++) {
    path->sends.data[i * RECORD_INTS + SEND_PEER] = next_byte() < 240 ? 1 + next_byte() % (LINES - 1) : next_int();
  }
  napi_value two[] = {usual < 224 ? make_number(usual % 2) : next_argument(MAX_MESSAGES),
                      usual < 224 ? make_number(usual % 8) : next_argument(MAX_MESSAGES)};
  napi_value one = usual < 224 ? make_number(usual % 16) : next_argument(MAX_DATAGRAMS);
  napi_value result = NULL;
  switch (usual % 4) {
    case 0: result = call(seal_udp, 2, two); break;
    case 1: result = call(send_sealed, 2, two); break;
    case 2: result = call(receive_sealed, 1, &one); break;
    default: call(attend, 0, NULL);
  }
  if (take_exception()) {
    if (result != NULL) abort();
  } else if (usual % 4 == 2 && path->sealed != NULL && number_of(result) > 0) {
    check_opened(path, number_of(result));
  }
}

void call_send_datagram(int fd) {
  size_t length = next_byte();
  napi_value bytes = make_array(napi_uint8_array, make_buffer(PLAIN, length), 0, length);
  napi_value arguments[] = {next_byte() < 240 ? make_number(fd) : next_argument(fd), make_number(next_int()),
                            next_byte() < 240 ? make_number(51820) : next_argument(65535),
                            next_byte() < 240 ? bytes : next_argument(0)};
  napi_value result = call(send_datagram, 4, arguments);
  if (take_exception() && result != NULL) abort();
}

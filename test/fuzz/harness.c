/*
 * One input is a path (sizes of its slabs and records) and some calls with records of every kind: in bounds, just out
 * of them, at the ends of int32. While a call reads properties or throws, JavaScript runs that calls the addon again and
 * takes memory away. It checks what a caller relies on; AddressSanitizer and UBSan check the rest.
 */
#include <stdlib.h>
#include <string.h>

#include "../../native/src/rudder.h"
#include "fuzz.h"

static const char *const NAMES[] = {"tun",     "udp",        "event",       "outboundSlab", "inboundSlab",
                                    "headers", "tunPackets", "datagrams",   "sends",        "sendIovecs",
                                    "writes",  "writeIovecs", "checksums",  "clock"};
enum { TUN = 1000, UDP = 1001, EVENT = 1002, ECHO = 1003, HANDLES = 3, PROPERTIES = COUNT(NAMES) };

/* Records are written, and results checked, where the addon thinks that its memory is. */
static struct instance instance;
static struct path *const path = &instance.path;

/* So that an input takes not too long. */
enum { MAX_ATTACHES = 24 };
static unsigned attaches, interruptions;

/* How many records may have a slot in a slab. */
static size_t slots_of(napi_value array, enum slab slab) {
  struct memory memory = {bytes_of(array), length_of(array)};
  size_t start = slab == SLAB_INBOUND ? first_inbound_slot(memory) : 0;
  size_t distance = slab == SLAB_INBOUND ? INBOUND_DISTANCE : outbound_distance(SLOT_BYTES);
  return memory.size > start ? slots_in(memory.size - start, SLOT_BYTES, distance) : 0;
}

/* Slabs come first, then the records of what lies in them, then all others. */
static napi_value next_property(const napi_value *before, size_t count) {
  static const size_t widths[] = {RECORD_INTS, RECORD_INTS, RECORD_INTS,   IOVEC_INTS,
                                  RECORD_INTS, IOVEC_INTS,  CHECKSUM_INTS, 1};
  if (count < SLAB_COUNT) return next_slab(before, count);
  size_t slab = count - SLAB_COUNT;
  if (slab <= SLAB_INBOUND) return next_slots(slots_of(before[slab], (enum slab)slab), before, count);
  return next_records(widths[count - SLAB_COUNT], before, count);
}

/* attach() with a path of its own. If it throws and nothing was called meanwhile, all is as it was. */
static void call_attach(void) {
  if (attaches++ == MAX_ATTACHES) return;
  napi_value values[PROPERTIES] = {make_number(TUN), make_number(UDP), make_number(EVENT)};
  for (size_t i = HANDLES; i < PROPERTIES; i++) values[i] = next_property(values + HANDLES, i - HANDLES);
  /* Now and then a property of another kind. */
  if (next_byte() == 255) values[next_byte() % PROPERTIES] = next_argument(0);
  napi_value object = next_byte() == 255 ? next_argument(0) : make_object(NAMES, values, PROPERTIES);
  struct path before = *path;
  unsigned interruptions_before = interruptions;
  call(attach_path, 1, &object);
  bool thrown = take_exception();
  if (interruptions != interruptions_before) return;
  if (thrown ? memcmp(&before, path, sizeof before) != 0 : path->clock_ms == NULL) abort();
}

/* RFC 1071, as plainly as it can be said. */
static uint16_t plain_sum(const uint8_t *bytes, size_t length, uint64_t rest) {
  uint64_t sum = rest;
  for (size_t i = 0; i < length; i++) sum += (uint64_t)bytes[i] << (i % 2 ? 0 : 8);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

/* What finishChecksums() has made of the outbound slab, of which `before` is a copy. */
static void check_finished(uint8_t *before, double count) {
  const int32_t *record = path->checksums.data;
  const struct memory *slab = &path->slabs[SLAB_OUTBOUND];
  for (int i = 0; i < count; i++, record += CHECKSUM_INTS) {
    const uint8_t *range = before + record[CHECKSUM_OFFSET];
    uint16_t checksum = (uint16_t)~plain_sum(range, (size_t)record[CHECKSUM_LENGTH], (uint32_t)record[CHECKSUM_REST]);
    if (checksum == 0) checksum = (uint16_t)record[CHECKSUM_ZERO];
    before[record[CHECKSUM_FIELD]] = (uint8_t)(checksum >> 8);
    before[record[CHECKSUM_FIELD] + 1] = (uint8_t)checksum;
  }
  if (slab->size > 0 && memcmp(before, slab->data, slab->size) != 0) abort();
}

static void check_verified(double asked, double wrong) {
  const int32_t *record = path->checksums.data;
  const uint8_t *slab = path->slabs[SLAB_INBOUND].data;
  for (int i = 0; i < asked; i++, record += CHECKSUM_INTS) {
    const uint8_t *range = slab + record[CHECKSUM_OFFSET];
    int is_wrong = plain_sum(range, (size_t)record[CHECKSUM_LENGTH], (uint32_t)record[CHECKSUM_REST]) != 0xffff;
    if (record[CHECKSUM_WRONG] != is_wrong) abort();
    wrong -= is_wrong;
  }
  if (wrong != 0) abort();
}

struct target {
  napi_callback function;
  size_t arguments;
  /* What its arguments are about: a number of records, a descriptor, a port. */
  int32_t size;
  /* The arrays it reads records from. */
  const struct records *messages, *iovecs;
};

static const struct target BATCHES[] = {
    {send_udp, 2, MAX_MESSAGES, &instance.path.sends, &instance.path.send_iovecs},
    {write_tun, 2, MAX_MESSAGES, &instance.path.writes, &instance.path.write_iovecs},
    {receive_udp, 1, MAX_DATAGRAMS, NULL, NULL},
};
static const struct target OTHERS[] = {
    {.function = wait_ready, .arguments = 3, .size = 7},
    {.function = close_handle, .arguments = 1, .size = EVENT},
    {.function = open_tun, .arguments = 1},
    {.function = set_tun_persistent, .arguments = 2, .size = TUN},
    {.function = set_tun_offload, .arguments = 2, .size = TUN},
    {.function = set_udp_gro, .arguments = 2, .size = UDP},
    {.function = probe_udp_gso, .arguments = 1, .size = UDP},
    {.function = open_udp, .arguments = 3, .size = 65535},
    {.function = open_event},
    {.function = open_netlink, .arguments = 2, .size = 65535},
    {.function = open_echo, .arguments = 5, .size = 65535},
    {.function = send_echo, .arguments = 5, .size = ECHO},
    {.function = udp_drops, .arguments = 1, .size = UDP},
    {.function = signal_event, .arguments = 1, .size = EVENT},
    {.function = notify_socket, .arguments = 2},
    {.function = probe_ring, .arguments = 1, .size = TUN},
    {.function = open_ring},
    {.function = close_ring},
    {.function = detach_path},
};

/* Longer than a socket's path may be (108). */
#define LONG_TEXT                                                                                                        \
  "/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901"

static napi_value next_text(void) {
  static const char *const texts[] = {"rudder0", "", "@abstract", "/run/notify",
                                      LONG_TEXT};
  return make_string(texts[next_byte() % COUNT(texts)]);
}

/* A call either throws, or answers with a number of records that it was asked for, or with an errno. */
static bool check_result(napi_value result, napi_value asked) {
  if (take_exception()) {
    if (result != NULL) abort();
    return false;
  }
  if (number_of(result) > number_of(asked) || number_of(result) < -4096) abort();
  return true;
}

static void call_batch(void) {
  const struct target *target = &BATCHES[next_byte() % COUNT(BATCHES)];
  if (target->messages != NULL) {
    fill_messages(target->messages, target->iovecs);
    fill_iovecs(path, target->iovecs, next_byte() % 32);
  }
  napi_value arguments[MAX_ARGUMENTS];
  for (size_t i = 0; i < target->arguments; i++) {
    uint8_t usual = next_byte();
    int is_first = target->arguments == 2 && i == 0;
    arguments[i] = usual < 224 ? make_number(usual % (is_first ? 2 : 8)) : next_argument(target->size);
  }
  napi_value result = call(target->function, next_byte() == 255 ? 0 : target->arguments, arguments);
  check_result(result, arguments[target->arguments - 1]);
}

/* What a call writes to the slab may change the records then, which is for the caller to avoid. */
static bool overlaps(const struct memory *slab, const struct records *records) {
  uintptr_t slab_start = (uintptr_t)slab->data, start = (uintptr_t)records->data;
  return start < slab_start + slab->size && slab_start < start + records->count * CHECKSUM_INTS * sizeof(int32_t);
}

static void call_checksums(void) {
  bool finishes = next_byte() % 2;
  const struct memory *slab = &path->slabs[finishes ? SLAB_OUTBOUND : SLAB_INBOUND];
  fill_checksums(path, next_byte() % 32, (int32_t)slab->size);
  uint8_t usual = next_byte();
  napi_value count = usual < 224 ? make_number(usual % 8) : next_argument(1100);
  bool is_apart = !overlaps(slab, &path->checksums);
  uint8_t *before = malloc(slab->size + 1);
  if (slab->size > 0) memcpy(before, slab->data, slab->size);
  napi_value result = call(finishes ? finish_checksums : verify_checksums, 1, &count);
  if (check_result(result, count) && is_apart) {
    if (finishes) check_finished(before, number_of(result));
    else check_verified(number_of(count), number_of(result));
  }
  free(before);
}

/* The stand-in for the kernel fills what it is given: pieces outside the slab would be seen. */
static void call_read_tun(void) {
  static const int32_t segments[] = {0, 1420, MIN_SPREAD_SEGMENT, SLOT_BYTES, MIN_SPREAD_SEGMENT - 1};
  int32_t size = (int32_t)path->slabs[SLAB_OUTBOUND].size;
  uint8_t usual = next_byte();
  napi_value arguments[] = {
      usual < 224 ? make_number(usual % 64) : next_argument(MAX_MESSAGES),
      usual < 224 ? make_number(size) : next_argument(size),
      usual < 224 ? make_number((usual % 4 + 1) * SLOT_BYTES) : next_argument(size),
      usual < 224 ? make_number(usual % (MAX_SPREAD_HEADER + 1)) : next_argument(MAX_SPREAD_HEADER),
      usual < 224 ? make_number(segments[next_byte() % COUNT(segments)]) : next_argument(SLOT_BYTES),
  };
  napi_value result = call(read_tun, next_byte() == 255 ? 4 : 5, arguments);
  check_result(result, arguments[0]);
}

static void call_send_echo(void) {
  napi_value arguments[] = {make_number(ECHO), make_number(next_int()), next_argument(65535), next_argument(65535),
                            next_argument(65507)};
  napi_value result = call(send_echo, 5, arguments);
  if (take_exception() ? result != NULL : number_of(result) <= 0) abort();
}

/* Memory of any kind will do: nothing of it is kept. What is written is an echo, and nothing else is written. */
static void call_receive_echoes(void) {
  uint8_t choice = next_byte();
  size_t length = choice < 192 ? choice % 24 : choice;
  napi_value buffer = make_buffer((enum sharing)(choice % 3), (length + 1) * sizeof(double));
  napi_value array = make_array(choice == 255 ? napi_int32_array : napi_float64_array, buffer, 0, length + 1);
  napi_value arguments[] = {next_byte() < 240 ? make_number(ECHO) : next_argument(ECHO), array};
  if (next_byte() == 255) arguments[1] = next_argument(0);
  napi_value result = call(receive_echoes, 2, arguments);
  if (take_exception()) {
    if (result != NULL) abort();
    return;
  }
  double count = number_of(result);
  const double *record = bytes_of(array);
  if (count < 0 || count * ECHO_FIELDS > (double)length_of(array)) abort();
  for (int i = 0; i < count; i++, record += ECHO_FIELDS) {
    if (record[ECHO_TYPE] != 0 && record[ECHO_TYPE] != 8) abort();
    if (record[ECHO_ID] < 0 || record[ECHO_ID] > 65535 || record[ECHO_SEQUENCE] < 0 || record[ECHO_SEQUENCE] > 65535) abort();
    if (record[ECHO_LENGTH] < 0 || record[ECHO_LENGTH] > 65507) abort();
  }
}

/* Packets anywhere in one piece of memory, in every width of the cipher. */
static void call_cipher(void) {
  static const int32_t lengths[] = {600, 0, 1, 47, 4000, 70000};
  enum { JOBS = 40 };
  int32_t length = lengths[next_byte() % COUNT(lengths)];
  napi_value bytes = make_array(napi_uint8_array, make_buffer((enum sharing)(next_byte() % 3), (size_t)length), 0, (size_t)length);
  napi_value records = make_array(napi_int32_array, make_buffer(PLAIN, JOBS * JOB_INTS * 4), 0, JOBS * JOB_INTS);
  int32_t *record = bytes_of(records);
  uint8_t many = next_byte() % (JOBS + 1);
  bool is_open = next_byte() % 2;
  for (int i = 0; i < many; i++, record += JOB_INTS) {
    record[JOB_SOURCE] = next_near(length);
    record[JOB_TARGET] = next_byte() % 2 ? record[JOB_SOURCE] : next_near(length);
    record[JOB_LENGTH] = next_near(length);
    record[JOB_TEXT] = is_open || record[JOB_LENGTH] < 0 || next_byte() % 2 ? record[JOB_LENGTH] : next_near(record[JOB_LENGTH]);
    record[JOB_KEY] = next_byte() % 4 ? 0 : next_near(length);
    record[JOB_COUNTER] = i;
  }
  napi_value code = make_number(next_byte() % 3);
  call(use_cipher, 1, &code);
  napi_value arguments[] = {next_byte() == 255 ? next_argument(0) : bytes, next_byte() == 255 ? next_argument(0) : records,
                            next_byte() < 240 ? make_number(many) : next_argument(JOBS)};
  napi_value result = call(is_open ? open_all : seal_all, 3, arguments);
  check_result(result, arguments[2]);
}

/* Whatever the message, the MAC is written where it is asked for and nowhere else. */
static void call_mac(void) {
  napi_value arrays[3];
  size_t lengths[] = {next_byte() % 34, next_byte() * 2u, next_byte() < 240 ? 16 : next_byte()};
  for (int i = 0; i < 3; i++) arrays[i] = make_array(napi_uint8_array, make_buffer(PLAIN, lengths[i]), 0, lengths[i]);
  if (next_byte() == 255) arrays[next_byte() % 3] = next_argument(0);
  napi_value result = call(keyed_mac, 3, arrays);
  if (take_exception() && result != NULL) abort();
}

static void call_other(void) {
  const struct target *target = &OTHERS[next_byte() % COUNT(OTHERS)];
  int takes_text = target->function == notify_socket || target->function == open_tun;
  napi_value arguments[MAX_ARGUMENTS];
  for (size_t i = 0; i < target->arguments; i++) arguments[i] = takes_text ? next_text() : next_argument(target->size);
  napi_value result = call(target->function, next_byte() == 255 ? 0 : target->arguments, arguments);
  if (take_exception() && result != NULL) abort();
}

static void call_any(void) {
  switch (next_byte() % 18) {
    case 0: call_other(); break;
    case 1: call_checksums(); break;
    case 2: call_read_tun(); break;
    case 3: call_attach(); break;
    case 4: shrink_buffers(next_byte()); break;
    case 5: collect_garbage(); break;
    case 6: call_receive_echoes(); break;
    case 7: call_send_echo(); break;
    case 8: call_cipher(); break;
    case 9: call_mac(); break;
    case 10: call_attach_sealed(path); break;
    case 11: call_send_datagram(UDP); break;
    case 12:
    case 13:
    case 14: call_sealed(path); break;
    default: call_batch();
  }
}

/* A call within a call, and one within that. */
void run_javascript(void) {
  static int depth;
  if (depth == 2 || next_byte() < 192) return;
  depth++;
  interruptions++;
  call_any();
  depth--;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  const napi_env env = THE_ENV;
  input = (struct input){bytes, size};
  attaches = 0;
  instance = (struct instance){.path = DETACHED_PATH};
  napi_create_reference(env, make_growable_getter(), 1, &instance.is_growable);
  napi_set_instance_data(env, &instance, NULL, NULL);
  handle_add(open_descriptor(HANDLE_TUN), HANDLE_TUN, env);
  handle_add(open_descriptor(HANDLE_UDP), HANDLE_UDP, env);
  handle_add(open_descriptor(HANDLE_EVENT), HANDLE_EVENT, env);
  handle_add(open_descriptor(HANDLE_ECHO), HANDLE_ECHO, env);

  call_attach();
  if (next_byte() % 2) call(open_ring, 0, NULL);
  take_exception();
  if (next_byte() % 2) call_attach_sealed(path);
  for (int turns = 0; turns < 12 && input.left > 0; turns++) call_any();

  call(detach_path, 0, NULL);
  handles_close_owned(env);
  napi_delete_reference(env, instance.is_growable);
  forget_descriptors();
  forget_values();
  return 0;
}

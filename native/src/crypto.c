/* The cipher and the MAC for JavaScript: the handshake's MACs, and batches over any memory for tests and measurements. */
#include <errno.h>
#include <string.h>

#include "aead-crew.h"
#include "blake2s.h"
#include "rudder.h"

/* Of one call. */
#define MAX_JOBS 1024

static bool get_job_records(napi_env env, napi_value value, struct records *records) {
  bool is_array = false;
  napi_typedarray_type type;
  void *data = NULL;
  size_t length = 0;
  if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array ||
      napi_get_typedarray_info(env, value, &type, &length, &data, NULL, NULL) != napi_ok || type != napi_int32_array) {
    return throw_type(env, "jobs", "expected an Int32Array");
  }
  *records = (struct records){data, length / JOB_INTS};
  return true;
}

static bool lies_in(const struct memory *memory, int32_t offset, int32_t length, size_t more) {
  return offset >= 0 && length >= 0 && (size_t)offset + (size_t)length + more <= memory->size;
}

/* mac(key, message, result): keyed BLAKE2s of 16 bytes. */
napi_value keyed_mac(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  struct memory key, message, result;
  if (!get_arguments(env, info, 3, arguments) || !get_bytes(env, arguments[0], "key", &key) ||
      !get_bytes(env, arguments[1], "message", &message) || !get_bytes(env, arguments[2], "result", &result)) {
    return NULL;
  }
  if (key.size < 1 || key.size > MAC_MAX_KEY_BYTES) return throw_range(env, "key", "expected 1 to 32 bytes"), NULL;
  if (result.size != MAC_BYTES) return throw_range(env, "result", "expected 16 bytes"), NULL;
  uint8_t mac[MAC_BYTES];
  blake2s_mac(key.data, key.size, message.data, message.size, mac);
  memcpy(result.data, mac, sizeof mac);
  return NULL;
}

/* useCipher(code): the one that this thread and all others take from now on; -1: the best. Returns which one that is, or -1:
 * this CPU does not have it. */
napi_value use_cipher(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  int32_t code;
  if (!get_arguments(env, info, 1, arguments)) return NULL;
  if (!get_int(env, arguments[0], "code", -1, AEAD_CODES - 1, &code)) return NULL;
  enum aead_code wanted = code < 0 ? aead_best() : (enum aead_code)code;
  return int_value(env, aead_choose(wanted) ? (int32_t)wanted : -1);
}

/* cipher(): the one in use. */
napi_value cipher_in_use(napi_env env, napi_callback_info info) {
  (void)info;
  return int_value(env, (int32_t)aead_chosen());
}

/* useCipherThreads(count): so many threads help with large batches from now on. Returns how many there are. */
napi_value use_cipher_threads(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  int32_t count;
  if (!get_arguments(env, info, 1, arguments)) return NULL;
  if (!get_int(env, arguments[0], "count", 0, MAX_HELPERS, &count)) return NULL;
  return int_value(env, crew_resize(count));
}

static napi_value run_jobs(napi_env env, napi_callback_info info, const char *name, bool is_open) {
  static _Thread_local struct aead_job jobs[MAX_JOBS];
  static _Thread_local uint32_t keys[MAX_JOBS][AEAD_KEY_WORDS];
  napi_value arguments[3];
  struct memory bytes;
  struct records records;
  int32_t count;
  if (!get_arguments(env, info, 3, arguments) || !get_bytes(env, arguments[0], "bytes", &bytes) ||
      !get_job_records(env, arguments[1], &records) ||
      !get_int(env, arguments[2], "count", 0, limit_of(&records, MAX_JOBS), &count)) {
    return NULL;
  }
  int32_t last_key = -1;
  for (int32_t i = 0; i < count; i++) {
    int32_t record[JOB_INTS];
    copy_ints(record, records.data + (size_t)i * JOB_INTS, JOB_INTS);
    int32_t source = record[JOB_SOURCE], text = record[JOB_TEXT], target = record[JOB_TARGET];
    int32_t length = record[JOB_LENGTH], key = record[JOB_KEY];
    if (!lies_in(&bytes, source, text, is_open ? AEAD_TAG_BYTES : 0) || text > length || (is_open && text != length) ||
        !lies_in(&bytes, target, length, is_open ? 0 : AEAD_TAG_BYTES) || !lies_in(&bytes, key, sizeof keys[i], 0)) {
      return throw_errno(env, EINVAL, name, "a record points outside its memory");
    }
    /* Neighbours of one key share it: that is what the lanes look at. */
    if (i > 0 && key == last_key) {
      jobs[i].key = jobs[i - 1].key;
    } else {
      memcpy(keys[i], bytes.data + key, sizeof keys[i]);
      jobs[i].key = keys[i];
    }
    last_key = key;
    jobs[i].source = bytes.data + source;
    jobs[i].target = bytes.data + target;
    jobs[i].text = (uint32_t)text;
    jobs[i].length = (uint32_t)length;
    jobs[i].counter = (uint32_t)record[JOB_COUNTER] | (uint64_t)(uint32_t)record[JOB_COUNTER + 1] << 32;
  }
  if (is_open) aead_open(jobs, (size_t)count);
  else aead_seal(jobs, (size_t)count);
  int32_t authentic = 0;
  for (int32_t i = 0; i < count && is_open; i++) {
    records.data[(size_t)i * JOB_INTS + JOB_IS_AUTHENTIC] = jobs[i].is_authentic;
    authentic += jobs[i].is_authentic;
  }
  explicit_bzero(keys, (size_t)count * sizeof keys[0]);
  explicit_bzero(jobs, (size_t)count * sizeof jobs[0]);
  return int_value(env, is_open ? authentic : count);
}

/* sealAll(bytes, jobs, count), openAll(bytes, jobs, count): returns how many are authentic. */
napi_value seal_all(napi_env env, napi_callback_info info) { return run_jobs(env, info, "sealAll", false); }
napi_value open_all(napi_env env, napi_callback_info info) { return run_jobs(env, info, "openAll", true); }

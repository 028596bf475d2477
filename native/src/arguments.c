#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "rudder.h"

bool get_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *values) {
  size_t given = MAX_ARGUMENTS;
  napi_value all[MAX_ARGUMENTS];
  if (napi_get_cb_info(env, info, &given, all, NULL, NULL) != napi_ok || given < count) {
    napi_throw_type_error(env, "ERR_MISSING_ARGS", "too few arguments");
    return false;
  }
  memcpy(values, all, count * sizeof *values);
  return true;
}

static const char *explain(char *text, size_t size, const char *name, const char *expected) {
  snprintf(text, size, "%s: %s", name, expected);
  return text;
}

bool throw_type(napi_env env, const char *name, const char *expected) {
  char text[128];
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", explain(text, sizeof text, name, expected));
  return false;
}

bool throw_range(napi_env env, const char *name, const char *expected) {
  char text[128];
  napi_throw_range_error(env, "ERR_OUT_OF_RANGE", explain(text, sizeof text, name, expected));
  return false;
}

bool get_int(napi_env env, napi_value value, const char *name, int32_t min, int32_t max, int32_t *out) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) {
    return throw_type(env, name, "expected a number");
  }
  /* Written so that NaN fails too. */
  if (!(number >= min && number <= max) || number != (int32_t)number) {
    char expected[64];
    snprintf(expected, sizeof expected, "expected a whole number from %d to %d", min, max);
    return throw_range(env, name, expected);
  }
  *out = (int32_t)number;
  return true;
}

bool get_string(napi_env env, napi_value value, const char *name, char *out, size_t size, size_t *length) {
  size_t needed;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &needed) != napi_ok) {
    return throw_type(env, name, "expected a string");
  }
  if (needed == 0 || needed >= size) {
    char expected[64];
    snprintf(expected, sizeof expected, "expected 1 to %zu bytes of text", size - 1);
    return throw_range(env, name, expected);
  }
  if (napi_get_value_string_utf8(env, value, out, size, length) != napi_ok) return false;
  /* The kernel would read up to there, and so take another name than the one that was given. */
  return memchr(out, '\0', *length) == NULL || throw_range(env, name, "expected text without a NUL");
}

bool get_handle(napi_env env, napi_value value, const char *name, enum handle_kind kind, int *fd) {
  int32_t number;
  if (!get_int(env, value, name, 0, INT32_MAX, &number)) return false;
  if (!handle_is(number, kind)) {
    throw_errno(env, EBADF, name, "not a descriptor that this addon opened");
    return false;
  }
  *fd = number;
  return true;
}

bool get_bytes(napi_env env, napi_value value, const char *name, struct memory *bytes) {
  bool is_array = false;
  napi_typedarray_type type;
  void *data = NULL;
  size_t length = 0;
  if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array ||
      napi_get_typedarray_info(env, value, &type, &length, &data, NULL, NULL) != napi_ok || type != napi_uint8_array) {
    return throw_type(env, name, "expected a Uint8Array");
  }
  /* Memory of no bytes may have no address. */
  static uint8_t nothing;
  *bytes = (struct memory){length == 0 ? &nothing : data, length};
  return true;
}

napi_value throw_errno(napi_env env, int error, const char *syscall, const char *detail) {
  char text[256];
  snprintf(text, sizeof text, "%s: %s%s%s", syscall, strerror(error), detail ? ", " : "", detail ? detail : "");
  const char *error_name = strerrorname_np(error);
  napi_value message, code, name, object;
  if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message) == napi_ok &&
      napi_create_string_utf8(env, error_name ? error_name : "EUNKNOWN", NAPI_AUTO_LENGTH, &code) == napi_ok &&
      napi_create_string_utf8(env, syscall, NAPI_AUTO_LENGTH, &name) == napi_ok &&
      napi_create_error(env, code, message, &object) == napi_ok) {
    napi_set_named_property(env, object, "errno", int_value(env, -error));
    napi_set_named_property(env, object, "syscall", name);
    napi_throw(env, object);
  }
  return NULL;
}

napi_value int_value(napi_env env, int32_t value) {
  napi_value result = NULL;
  napi_create_int32(env, value, &result);
  return result;
}

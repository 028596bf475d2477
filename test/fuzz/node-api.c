/*
 * Node-API over plain C values, as far as the addon uses it. Where Node would run JavaScript, within a getter or a
 * setter, run_javascript() does as it pleases.
 */
#include <stdlib.h>
#include <string.h>

#include "values.h"

static int exception;
static void *instance;

struct arguments {
  size_t count;
  const napi_value *values;
};

napi_value call(napi_callback function, size_t count, const napi_value *list) {
  struct arguments arguments = {count, list};
  bool has_object = count > 0 && of(list[0])->kind == OBJECT;
  exception = 0;
  if (has_object) of(list[0])->is_argument = true;
  napi_value result = function(THE_ENV, (napi_callback_info)&arguments);
  if (has_object) of(list[0])->is_argument = false;
  return result;
}

int take_exception(void) {
  int was = exception;
  exception = 0;
  return was;
}

double number_of(napi_value value) {
  if (value == NULL || of(value)->kind != NUMBER) abort();
  return of(value)->number;
}

/* JavaScript that the addon did not ask for, but that Node runs: it keeps its own exceptions to itself. */
static void run_setter_or_getter(void) {
  if (exception) return;
  run_javascript();
  exception = 0;
}

napi_status napi_get_cb_info(napi_env env, napi_callback_info info, size_t *count, napi_value *list, napi_value *self,
                             void **data) {
  (void)env, (void)self, (void)data;
  const struct arguments *arguments = (const struct arguments *)info;
  for (size_t i = 0; i < *count; i++) list[i] = i < arguments->count ? arguments->values[i] : NULL;
  *count = arguments->count;
  return napi_ok;
}

napi_status napi_get_value_double(napi_env env, napi_value value, double *out) {
  (void)env;
  if (value == NULL || of(value)->kind != NUMBER) return napi_number_expected;
  *out = of(value)->number;
  return napi_ok;
}

napi_status napi_get_value_string_utf8(napi_env env, napi_value value, char *out, size_t size, size_t *length) {
  (void)env;
  if (value == NULL || of(value)->kind != STRING) return napi_string_expected;
  size_t whole = strlen(of(value)->text);
  if (out == NULL) {
    *length = whole;
    return napi_ok;
  }
  size_t copied = whole < size - 1 ? whole : size - 1;
  memcpy(out, of(value)->text, copied);
  out[copied] = '\0';
  if (length != NULL) *length = copied;
  return napi_ok;
}

napi_status napi_get_value_bool(napi_env env, napi_value value, bool *out) {
  (void)env;
  if (value == NULL || of(value)->kind != BOOLEAN) return napi_boolean_expected;
  *out = of(value)->number != 0;
  return napi_ok;
}

napi_status napi_typeof(napi_env env, napi_value value, napi_valuetype *out) {
  (void)env;
  switch (of(value)->kind) {
    case NUMBER: *out = napi_number; break;
    case BOOLEAN: *out = napi_boolean; break;
    case STRING: *out = napi_string; break;
    case GROWABLE_GETTER: *out = napi_function; break;
    default: *out = napi_object;
  }
  return napi_ok;
}

/* Every property is a getter, which may throw, and answers the second time with something else. */
napi_status napi_get_named_property(napi_env env, napi_value object, const char *name, napi_value *out) {
  (void)env;
  if (exception) return napi_pending_exception;
  if (object == NULL || of(object)->kind < BUFFER) return napi_object_expected;
  run_setter_or_getter();
  if (next_byte() == 255) {
    exception = 1;
    return napi_pending_exception;
  }
  *out = make_number(0); /* so a buffer that is asked whether it is growable lies, too */
  if (of(object)->kind != OBJECT) return napi_ok;
  for (size_t i = 0; i < of(object)->length; i++) {
    if (strcmp(of(object)->names[i], name) != 0) continue;
    if ((of(object)->reads >> i & 1) == 0) *out = of(object)->values[i];
    of(object)->reads |= UINT32_C(1) << i;
  }
  return napi_ok;
}

napi_status napi_is_typedarray(napi_env env, napi_value value, bool *out) {
  (void)env;
  *out = value != NULL && of(value)->kind == ARRAY;
  return napi_ok;
}

napi_status napi_get_typedarray_info(napi_env env, napi_value value, napi_typedarray_type *type, size_t *length,
                                     void **data, napi_value *buffer, size_t *offset) {
  (void)env, (void)offset;
  const struct value *array = of(value);
  if (array->kind != ARRAY) abort();
  if (array->type != UNKNOWN_ARRAY) *type = array->type; /* Node, too, leaves it then as it was */
  *length = length_of(value);
  *data = bytes_of(value);
  if (buffer != NULL) *buffer = (napi_value)array->buffer;
  return napi_ok;
}

napi_status napi_is_arraybuffer(napi_env env, napi_value value, bool *out) {
  (void)env;
  *out = of(value)->kind == BUFFER && of(value)->sharing == PLAIN;
  return napi_ok;
}

/* There is one function, and it may find no room on the stack. */
napi_status napi_call_function(napi_env env, napi_value self, napi_value function, size_t count, const napi_value *list,
                               napi_value *out) {
  (void)env, (void)list;
  if (exception) return napi_pending_exception;
  if (of(function)->kind != GROWABLE_GETTER || count != 0) abort();
  if (of(self)->kind != BUFFER || of(self)->sharing == PLAIN || next_byte() == 255) {
    exception = 1;
    return napi_pending_exception;
  }
  *out = make_boolean(of(self)->sharing == GROWABLE);
  return napi_ok;
}

/* No memory may be kept that can change behind our back. */
napi_status napi_create_reference(napi_env env, napi_value value, uint32_t count, napi_ref *out) {
  (void)env, (void)count;
  if (of(value)->kind != GROWABLE_GETTER) {
    if (of(value)->kind != ARRAY || of(value)->type == UNKNOWN_ARRAY || of(value)->buffer->sharing != FIXED) abort();
    if (next_byte() == 255) return napi_generic_failure;
  }
  of(value)->references++;
  *out = (napi_ref)value;
  return napi_ok;
}

napi_status napi_get_reference_value(napi_env env, napi_ref reference, napi_value *out) {
  (void)env;
  *out = (napi_value)reference;
  return napi_ok;
}

napi_status napi_delete_reference(napi_env env, napi_ref reference) {
  (void)env;
  if (reference == NULL || of((napi_value)reference)->references-- == 0) abort();
  return napi_ok;
}

napi_status napi_get_instance_data(napi_env env, void **data) {
  (void)env;
  *data = instance;
  return napi_ok;
}

napi_status napi_set_instance_data(napi_env env, void *data, napi_finalize finalize, void *hint) {
  (void)env, (void)finalize, (void)hint;
  instance = data;
  return napi_ok;
}

static napi_status throws(void) {
  if (exception) abort(); /* two for one call */
  exception = 1;
  return napi_ok;
}

napi_status napi_throw(napi_env env, napi_value error) {
  (void)env, (void)error;
  return throws();
}

/* A setter of `code` that errors inherit. */
napi_status napi_throw_type_error(napi_env env, const char *code, const char *message) {
  (void)env, (void)code;
  if (strlen(message) > 127) abort();
  run_setter_or_getter();
  return throws();
}

napi_status napi_throw_range_error(napi_env env, const char *code, const char *message) {
  return napi_throw_type_error(env, code, message);
}

napi_status napi_create_int32(napi_env env, int32_t number, napi_value *out) {
  (void)env;
  *out = make_number(number);
  return napi_ok;
}

napi_status napi_create_uint32(napi_env env, uint32_t number, napi_value *out) {
  (void)env;
  *out = make_number(number);
  return napi_ok;
}

napi_status napi_create_double(napi_env env, double number, napi_value *out) {
  (void)env;
  *out = make_number(number);
  return napi_ok;
}

napi_status napi_create_string_utf8(napi_env env, const char *text, size_t length, napi_value *out) {
  (void)env, (void)length;
  if (strlen(text) > 1024) abort();
  *out = make_string("");
  return napi_ok;
}

napi_status napi_create_error(napi_env env, napi_value code, napi_value message, napi_value *out) {
  (void)env, (void)code, (void)message;
  run_setter_or_getter();
  *out = make_object(NULL, NULL, 0);
  return napi_ok;
}

napi_status napi_set_named_property(napi_env env, napi_value object, const char *name, napi_value value) {
  (void)env, (void)object, (void)name, (void)value;
  run_setter_or_getter();
  return napi_ok;
}

#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

enum kind { NUMBER, STRING, ARRAY, OBJECT };

struct value {
  enum kind kind;
  double number;
  const char *text;
  napi_typedarray_type type;
  void *data;
  size_t length;
  const char *const *names;
  const napi_value *values;
};

#define MAX_VALUES 256
static struct value values[MAX_VALUES];
static size_t value_count;
static int exception;
static void *instance;
static int references;

static struct value *make(enum kind kind) {
  if (value_count == MAX_VALUES) abort();
  values[value_count] = (struct value){.kind = kind};
  return &values[value_count++];
}

static struct value *of(napi_value value) { return (struct value *)value; }

napi_value make_number(double number) {
  struct value *value = make(NUMBER);
  value->number = number;
  return (napi_value)value;
}

napi_value make_string(const char *text) {
  struct value *value = make(STRING);
  value->text = text;
  return (napi_value)value;
}

napi_value make_array(napi_typedarray_type type, void *data, size_t length) {
  struct value *value = make(ARRAY);
  value->type = type;
  value->data = data;
  value->length = length;
  return (napi_value)value;
}

napi_value make_object(const char *const *names, const napi_value *list, size_t count) {
  struct value *value = make(OBJECT);
  value->names = names;
  value->values = list;
  value->length = count;
  return (napi_value)value;
}

/* The addon must have let go of every array by now. */
void forget_values(void) {
  if (references != 0) abort();
  value_count = 0;
}

struct arguments {
  size_t count;
  const napi_value *values;
};

napi_value call(napi_callback function, size_t count, const napi_value *list) {
  struct arguments arguments = {count, list};
  exception = 0;
  return function(THE_ENV, (napi_callback_info)&arguments);
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

/* --- Node-API, as far as the addon uses it --- */

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

napi_status napi_get_named_property(napi_env env, napi_value object, const char *name, napi_value *out) {
  (void)env;
  if (object == NULL || of(object)->kind != OBJECT) return napi_object_expected;
  *out = make_number(0);
  for (size_t i = 0; i < of(object)->length; i++) {
    if (strcmp(of(object)->names[i], name) == 0) *out = of(object)->values[i];
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
  (void)env, (void)buffer, (void)offset;
  *type = of(value)->type;
  *length = of(value)->length;
  *data = of(value)->data;
  return napi_ok;
}

napi_status napi_create_reference(napi_env env, napi_value value, uint32_t count, napi_ref *out) {
  (void)env, (void)count;
  references++;
  *out = (napi_ref)value;
  return napi_ok;
}

napi_status napi_delete_reference(napi_env env, napi_ref reference) {
  (void)env;
  if (reference == NULL || references == 0) abort();
  references--;
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

napi_status napi_throw_type_error(napi_env env, const char *code, const char *message) {
  (void)env, (void)code, (void)message;
  return throws();
}

napi_status napi_throw_range_error(napi_env env, const char *code, const char *message) {
  (void)env, (void)code, (void)message;
  return throws();
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

napi_status napi_create_string_utf8(napi_env env, const char *text, size_t length, napi_value *out) {
  (void)env, (void)length;
  if (strlen(text) > 1024) abort();
  *out = make_string("");
  return napi_ok;
}

napi_status napi_create_error(napi_env env, napi_value code, napi_value message, napi_value *out) {
  (void)env, (void)code, (void)message;
  *out = make_object(NULL, NULL, 0);
  return napi_ok;
}

napi_status napi_set_named_property(napi_env env, napi_value object, const char *name, napi_value value) {
  (void)env, (void)object, (void)name, (void)value;
  return napi_ok;
}

/* JavaScript's values, and what becomes of their memory. */
#include <stdlib.h>
#include <string.h>

#include "values.h"

#define MAX_VALUES 16384
static struct value values[MAX_VALUES];
static size_t value_count;

static struct value *make(enum kind kind) {
  if (value_count == MAX_VALUES) abort();
  values[value_count] = (struct value){.kind = kind};
  return &values[value_count++];
}

napi_value make_number(double number) {
  struct value *value = make(NUMBER);
  value->number = number;
  return (napi_value)value;
}

napi_value make_boolean(bool yes) {
  struct value *value = make(BOOLEAN);
  value->number = yes;
  return (napi_value)value;
}

napi_value make_string(const char *text) {
  struct value *value = make(STRING);
  value->text = text;
  return (napi_value)value;
}

napi_value make_growable_getter(void) { return (napi_value)make(GROWABLE_GETTER); }

napi_value make_buffer(enum sharing sharing, size_t size) {
  struct value *value = make(BUFFER);
  value->sharing = sharing;
  value->size = size;
  if (size > 0) value->data = calloc(size, 1);
  return (napi_value)value;
}

static size_t width_of(napi_typedarray_type type) {
  if (type == napi_float64_array) return sizeof(double);
  return type == napi_uint8_array ? 1 : sizeof(int32_t);
}

napi_value make_array(napi_typedarray_type type, napi_value buffer, size_t offset, size_t length) {
  struct value *value = make(ARRAY);
  size_t size = of(buffer)->size, width = width_of(type);
  if (offset > size) offset = 0;
  value->type = type;
  value->buffer = of(buffer);
  value->offset = offset;
  value->length = length < (size - offset) / width ? length : (size - offset) / width;
  return (napi_value)value;
}

size_t length_of(napi_value array) {
  const struct value *value = of(array);
  return value->offset + value->length * width_of(value->type) > value->buffer->size ? 0 : value->length;
}

void *bytes_of(napi_value array) {
  const struct value *value = of(array);
  return value->buffer->data == NULL ? NULL : value->buffer->data + value->offset;
}

napi_value buffer_of(napi_value array) { return (napi_value)of(array)->buffer; }

napi_value make_object(const char *const *names, const napi_value *list, size_t count) {
  struct value *value = make(OBJECT);
  value->names = names;
  value->values = list;
  value->length = count;
  return (napi_value)value;
}

static void take_away(struct value *buffer, size_t left) {
  uint8_t *moved = left > 0 ? malloc(left) : NULL;
  if (left > 0) memcpy(moved, buffer->data, left);
  free(buffer->data);
  buffer->data = moved;
  buffer->size = left;
}

void shrink_buffers(uint8_t share) {
  for (size_t i = 0; i < value_count; i++) {
    if (values[i].kind == BUFFER && values[i].sharing == PLAIN) take_away(&values[i], values[i].size * share / 256);
  }
}

void collect_garbage(void) {
  for (size_t i = 0; i < value_count; i++) values[i].is_reachable = false;
  for (size_t i = 0; i < value_count; i++) {
    if (values[i].kind == ARRAY && values[i].references > 0) values[i].buffer->is_reachable = true;
    if (values[i].kind != OBJECT || !values[i].is_argument) continue;
    for (size_t k = 0; k < values[i].length; k++) {
      const struct value *property = of(values[i].values[k]);
      if (property->kind == ARRAY) property->buffer->is_reachable = true;
    }
  }
  for (size_t i = 0; i < value_count; i++) {
    if (values[i].kind == BUFFER && !values[i].is_reachable) take_away(&values[i], 0);
  }
}

/* The addon must have let go of all of them by now. */
void forget_values(void) {
  for (size_t i = 0; i < value_count; i++) {
    if (values[i].references != 0) abort();
    free(values[i].data);
  }
  value_count = 0;
}

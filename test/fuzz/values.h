/* What a napi_value of the fuzzer is. */
#ifndef VALUES_H
#define VALUES_H

#include "fuzz.h"

enum kind { NUMBER, BOOLEAN, STRING, BUFFER, ARRAY, OBJECT, GROWABLE_GETTER };

struct value {
  enum kind kind;
  double number;
  const char *text;
  int references;
  /* Of a buffer. */
  enum sharing sharing;
  uint8_t *data;
  size_t size;
  bool is_reachable;
  /* Of an array. */
  napi_typedarray_type type;
  struct value *buffer;
  size_t offset, length;
  /* Of an object. */
  const char *const *names;
  const napi_value *values;
  uint32_t reads;   /* a bit for each property that has been */
  bool is_argument; /* of a call under way */
};

static inline struct value *of(napi_value value) { return (struct value *)value; }

napi_value make_boolean(bool yes);

#endif

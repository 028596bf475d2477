/*
 * The addon without Node and without a kernel: Node-API over plain C values (node-api.c), and system calls that touch
 * every byte they are given (system-calls.c). So AddressSanitizer sees every address that the addon would hand on.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <node_api.h>
#include <stddef.h>
#include <stdint.h>

/* --- the input, taken apart from its start; zeroes behind its end --- */

struct input {
  const uint8_t *bytes;
  size_t left;
};

extern struct input input;

uint8_t next_byte(void);
int32_t next_int(void);
/* From 0 to most. */
int32_t next_below(int32_t most);

/* --- JavaScript's values --- */

napi_value make_number(double value);
napi_value make_string(const char *text);
napi_value make_array(napi_typedarray_type type, void *data, size_t length);
/* What attach() asks for by name. */
napi_value make_object(const char *const *names, const napi_value *values, size_t count);
void forget_values(void);

/* There is one environment, and nobody looks into it. */
#define THE_ENV ((napi_env)&input)

/* Calls a function of the addon as JavaScript would. */
napi_value call(napi_callback function, size_t count, const napi_value *arguments);
/* True if the last call threw; forgets it. */
int take_exception(void);
/* The number that a call has returned. */
double number_of(napi_value value);

#endif

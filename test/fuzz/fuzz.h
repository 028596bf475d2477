/*
 * The addon without Node and without a kernel: Node-API over plain C values (node-api.c), and system calls that touch
 * every byte they are given (system-calls.c). So AddressSanitizer sees every address that the addon would hand on.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <node_api.h>
#include <stdbool.h>
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
/* A number about a size: mostly one that could be right, often at its very end, now and then just beyond or far off. */
int32_t next_near(int32_t size);
/* An argument: mostly a number, and now and then none that a record has. */
napi_value next_argument(int32_t size);
/* Arrays for attach(), behind `count` others. */
napi_value next_slab(const napi_value *before, size_t count);
napi_value next_slots(size_t slots, const napi_value *before, size_t count);
napi_value next_records(size_t width, const napi_value *before, size_t count);

struct path;
struct records;
void fill_iovecs(const struct path *path, const struct records *iovecs, size_t count);
void fill_checksums(const struct path *path, size_t count, int32_t size);
void fill_messages(const struct records *messages, const struct records *iovecs);

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* --- JavaScript's values --- */

napi_value make_number(double value);
napi_value make_string(const char *text);
/* The getter SharedArrayBuffer.prototype.growable. */
napi_value make_growable_getter(void);
/* An ArrayBuffer, and SharedArrayBuffers: of zeroes, and of exactly that size, so that one byte beyond is seen. */
enum sharing { PLAIN, GROWABLE, FIXED };
napi_value make_buffer(enum sharing sharing, size_t size);
/* A kind of typed array that Node-API has no number for. */
#define UNKNOWN_ARRAY ((napi_typedarray_type)-1)
/* No longer than the buffer is. */
napi_value make_array(napi_typedarray_type type, napi_value buffer, size_t offset, size_t length);
size_t length_of(napi_value array);
void *bytes_of(napi_value array);
napi_value buffer_of(napi_value array);
/* What attach() asks for by name. */
napi_value make_object(const char *const *names, const napi_value *values, size_t count);
/* What JavaScript does to the memory of all its ArrayBuffers: so much of it, in 256ths, is left and lies elsewhere. */
void shrink_buffers(uint8_t share);
/* Frees the memory of what neither the addon nor a call under way refers to. */
void collect_garbage(void);
void forget_values(void);

/* There is one environment, and nobody looks into it. */
#define THE_ENV ((napi_env)&input)

/* Calls a function of the addon as JavaScript would. */
napi_value call(napi_callback function, size_t count, const napi_value *arguments);
/* True if the last call threw; forgets it. */
int take_exception(void);
/* The number that a call has returned. */
double number_of(napi_value value);
/* The harness's: what runs within a getter or a setter. */
void run_javascript(void);

/* --- a sealed wire (sealed.c) --- */

void call_attach_sealed(struct path *path);
void call_sealed(struct path *path);
void call_send_datagram(int fd);
/* Writes what a peer could send into the room of a datagram; 0: nothing. */
size_t next_sealed(uint8_t *to, size_t room);

/* --- descriptors, by kind (enum handle_kind); every system call checks that it is given an open one of its kind --- */

int open_descriptor(int kind);
/* All must be closed, and all rings too. */
void forget_descriptors(void);

#endif

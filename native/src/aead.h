/*
 * ChaCha20-Poly1305 (RFC 8439) over batches of packets, as WireGuard uses it: no associated data, a nonce of 32 zero bits and
 * a counter of 64. Several packets share the lanes of a vector, since lanes do not depend on each other: so short packets
 * cost as little a byte as long ones. No branch and no index depends on a key or on what is sealed.
 */
#ifndef RUDDER_AEAD_H
#define RUDDER_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEAD_KEY_WORDS 8
#define AEAD_TAG_BYTES 16
#define AEAD_BLOCK_BYTES 64

/* One packet. Source and target are apart, or the same: then it is done in place. */
struct aead_job {
  const uint8_t *source;
  uint8_t *target;
  const uint32_t *key; /* AEAD_KEY_WORDS, as they lie in memory; neighbours of one key share the pointer */
  uint64_t counter;
  uint32_t text;   /* bytes of the source; behind them zeroes are sealed. To open: as many as `length` */
  uint32_t length; /* bytes of the target, without the tag */
  bool is_authentic; /* the verdict of aead_open() */
  uint64_t one_time_key[4]; /* of the AEAD alone */
};

/* In lanes; so many jobs at once keep all of them busy, and their blocks in the cache. */
#define AEAD_CHUNK 64

/* The tag is written behind the target's `length` bytes. */
void aead_seal(struct aead_job *jobs, size_t count);
/*
 * The tag lies behind the source's `length` bytes. What is authentic is opened, nothing else is written: of a packet that is
 * not, the target stays as it was.
 */
void aead_open(struct aead_job *jobs, size_t count);

/* Which code that is: chosen once, by what this CPU has. */
enum aead_code { AEAD_PORTABLE, AEAD_AVX2, AEAD_AVX512, AEAD_CODES };

/* False: this CPU has not what it needs. For all threads; to be called before there are others. */
bool aead_choose(enum aead_code code);
enum aead_code aead_best(void);
enum aead_code aead_chosen(void);
const char *aead_name(enum aead_code code);

#endif

/* See aead.h. The lanes are in aead-lanes.h; here is what all widths share, and the choice between them. */
#include "aead.h"

#include <string.h>

#include "aead-crew.h"

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define IS_BIG_ENDIAN true
#else
#define IS_BIG_ENDIAN false
#endif

static inline uint32_t little_endian(uint32_t word) { return IS_BIG_ENDIAN ? __builtin_bswap32(word) : word; }

static inline uint64_t load64(const void *bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
  return IS_BIG_ENDIAN ? __builtin_bswap64(word) : word;
}

static inline void store64(void *bytes, uint64_t word) {
  if (IS_BIG_ENDIAN) word = __builtin_bswap64(word);
  memcpy(bytes, &word, sizeof word);
}

/* Of whole 64-bit words. */
static inline __attribute__((always_inline)) void xor_bytes(uint8_t *target, const uint8_t *a, const uint8_t *b, size_t length) {
  uint64_t x[AEAD_BLOCK_BYTES / 8], y[AEAD_BLOCK_BYTES / 8];
  memcpy(x, a, length);
  memcpy(y, b, length);
  for (size_t i = 0; i < length / 8; i++) x[i] ^= y[i];
  memcpy(target, x, length);
}

static inline uint32_t blocks_in(uint32_t length) { return (length + AEAD_BLOCK_BYTES - 1) / AEAD_BLOCK_BYTES; }

/* Whole tags are compared, wherever they differ. */
static inline bool is_equal(const uint8_t *tag, const uint8_t *other) {
  return ((load64(tag) ^ load64(other)) | (load64(tag + 8) ^ load64(other + 8))) == 0;
}

/* --- Poly1305 of one packet (RFC 8439 2.5), in limbs of 44, 44 and 42 bits --- */

__extension__ typedef unsigned __int128 uint128;
#define LIMB44 (((uint64_t)1 << 44) - 1)
#define LIMB42 (((uint64_t)1 << 42) - 1)

static inline uint64_t clamp_low(const uint64_t *key) { return load64(key) & 0x0ffffffc0fffffff; }
static inline uint64_t clamp_high(const uint64_t *key) { return load64(key + 1) & 0x0ffffffc0ffffffc; }

/* h mod 2^130 - 5, and the second half of the one-time key added; h as two words and what is above 2^128. */
static inline void write_tag(uint64_t h0, uint64_t h1, uint64_t h2, const uint64_t *key, uint8_t *tag) {
  uint128 sum = (uint128)h0 + 5;
  uint64_t g0 = (uint64_t)sum;
  sum = (uint128)h1 + (uint64_t)(sum >> 64);
  uint64_t g1 = (uint64_t)sum, g2 = h2 + (uint64_t)(sum >> 64);
  /* All ones if h + 5 has reached 2^130, so that h is not reduced yet. */
  uint64_t mask = 0 - (g2 >> 2);
  h0 = (h0 & ~mask) | (g0 & mask);
  h1 = (h1 & ~mask) | (g1 & mask);
  sum = (uint128)h0 + load64(key + 2);
  store64(tag, (uint64_t)sum);
  store64(tag + 8, h1 + load64(key + 3) + (uint64_t)(sum >> 64));
}

/* From limbs of 26 bits that may be a little larger. */
static inline void finish_tag(const uint64_t limbs[5], const uint64_t *key, uint8_t *tag) {
  uint128 sum = (uint128)limbs[0] + ((uint128)limbs[1] << 26) + ((uint128)limbs[2] << 52) + ((uint128)limbs[3] << 78);
  uint64_t h2 = limbs[4] >> 24;
  uint128 more = (uint128)(limbs[4] & 0xffffff) << 104;
  sum += more;
  h2 += sum < more;
  /* What is above 2^130 comes back five times; once more, if that carries. */
  for (int i = 0; i < 2; i++) {
    uint64_t above = (h2 >> 2) * 5;
    h2 &= 3;
    sum += above;
    h2 += sum < above;
  }
  write_tag((uint64_t)sum, (uint64_t)(sum >> 64), h2, key, tag);
}

struct poly44 {
  uint64_t h[3], r[3], s[2];
};

static inline void poly44_block(struct poly44 *state, uint64_t low, uint64_t high) {
  const uint64_t *r = state->r, *s = state->s;
  uint64_t h0 = state->h[0] + (low & LIMB44), h1 = state->h[1] + ((low >> 44 | high << 20) & LIMB44);
  uint64_t h2 = state->h[2] + (high >> 24 | (uint64_t)1 << 40);
  uint128 d0 = (uint128)h0 * r[0] + (uint128)h1 * s[1] + (uint128)h2 * s[0];
  uint128 d1 = (uint128)h0 * r[1] + (uint128)h1 * r[0] + (uint128)h2 * s[1];
  uint128 d2 = (uint128)h0 * r[2] + (uint128)h1 * r[1] + (uint128)h2 * r[0];
  d1 += (uint64_t)(d0 >> 44);
  d2 += (uint64_t)(d1 >> 44);
  h0 = ((uint64_t)d0 & LIMB44) + (uint64_t)(d2 >> 42) * 5;
  state->h[0] = h0 & LIMB44;
  state->h[1] = ((uint64_t)d1 & LIMB44) + (h0 >> 44);
  state->h[2] = (uint64_t)d2 & LIMB42;
}

static void tag_of_one(const struct aead_job *job, const uint8_t *text, uint8_t *tag) {
  uint64_t low = clamp_low(job->one_time_key), high = clamp_high(job->one_time_key);
  struct poly44 state = {.r = {low & LIMB44, (low >> 44 | high << 20) & LIMB44, high >> 24}};
  state.s[0] = state.r[1] * 20;
  state.s[1] = state.r[2] * 20;
  uint32_t at = 0;
  for (; at + 16 <= job->length; at += 16) poly44_block(&state, load64(text + at), load64(text + at + 8));
  if (at < job->length) {
    uint8_t last[16] = {0};
    memcpy(last, text + at, job->length - at);
    poly44_block(&state, load64(last), load64(last + 8));
  }
  poly44_block(&state, 0, job->length);
  uint128 sum = (uint128)state.h[0] + ((uint128)state.h[1] << 44);
  uint64_t h2 = state.h[2] >> 40;
  uint128 more = (uint128)(state.h[2] & (((uint64_t)1 << 40) - 1)) << 88;
  sum += more;
  h2 += sum < more;
  uint64_t above = (h2 >> 2) * 5;
  h2 &= 3;
  sum += above;
  h2 += sum < above;
  write_tag((uint64_t)sum, (uint64_t)(sum >> 64), h2, job->one_time_key, tag);
}

/* --- the widths. In groups of 128 bits, as the unpack instructions of x86 and the zips of arm64 work --- */

#define LANES 4
#define NAME(name) name##_portable
#if defined(__SSE2__)
#include <emmintrin.h>
#define MUL(a, b) (wides) _mm_mul_epu32((__m128i)(a), (__m128i)(b))
#elif defined(__aarch64__)
#include <arm_neon.h>
#define MUL(a, b) (wides) vmull_u32(vmovn_u64((uint64x2_t)(a)), vmovn_u64((uint64x2_t)(b)))
#else
#define MUL(a, b) (((a) & UINT32_MAX) * ((b) & UINT32_MAX))
#endif
#define SHUFFLE_LOW32(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define SHUFFLE_HIGH32(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define SHUFFLE_LOW64(a, b) __builtin_shufflevector(a, b, 0, 1, 4, 5)
#define SHUFFLE_HIGH64(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7)
#define GATHER_ROWS(p, q, r, s, rows, k) \
  (memcpy(rows[k], &p, 16), memcpy(rows[k] + 4, &q, 16), memcpy(rows[k] + 8, &r, 16), memcpy(rows[k] + 12, &s, 16))
#include "aead-lanes.h"

/* clang, which builds the fuzzer, has these widths in the registers that there are. */
#if defined(__x86_64__)
#define HAS_WIDE 1
#if !defined(__clang__)
#include <immintrin.h>
#pragma GCC push_options
#pragma GCC target("avx2")
#define MUL(a, b) (wides) _mm256_mul_epu32((__m256i)(a), (__m256i)(b))
#else
#define MUL(a, b) (((a) & UINT32_MAX) * ((b) & UINT32_MAX))
#endif
#define LANES 8
#define NAME(name) name##_avx2
#define SHUFFLE_LOW32(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define SHUFFLE_HIGH32(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define SHUFFLE_LOW64(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define SHUFFLE_HIGH64(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define LOW128(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define HIGH128(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#define GATHER_ROWS(p, q, r, s, rows, k)                               \
  do {                                                                 \
    words halves[4] = {LOW128(p, q), LOW128(r, s), HIGH128(p, q), HIGH128(r, s)}; \
    memcpy(rows[k], halves, 64);                                       \
    memcpy(rows[4 + k], halves + 2, 64);                               \
  } while (0)
#include "aead-lanes.h"

#if !defined(__clang__)
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#define MUL(a, b) (wides) _mm512_mul_epu32((__m512i)(a), (__m512i)(b))
#else
#define MUL(a, b) (((a) & UINT32_MAX) * ((b) & UINT32_MAX))
#endif
#define LANES 16
#define NAME(name) name##_avx512
#define EACH128(a, b, i, j, k, l)                                                                          \
  __builtin_shufflevector(a, b, i, j, k, l, 4 + (i), 4 + (j), 4 + (k), 4 + (l), 8 + (i), 8 + (j), 8 + (k), \
                          8 + (l), 12 + (i), 12 + (j), 12 + (k), 12 + (l))
#define SHUFFLE_LOW32(a, b) EACH128(a, b, 0, 16, 1, 17)
#define SHUFFLE_HIGH32(a, b) EACH128(a, b, 2, 18, 3, 19)
#define SHUFFLE_LOW64(a, b) EACH128(a, b, 0, 1, 16, 17)
#define SHUFFLE_HIGH64(a, b) EACH128(a, b, 2, 3, 18, 19)
/* 128 bits each: i and j of a, k and l of b. */
#define CHOOSE128(a, b, i, j, k, l)                                                                                   \
  __builtin_shufflevector(a, b, 4 * (i), 4 * (i) + 1, 4 * (i) + 2, 4 * (i) + 3, 4 * (j), 4 * (j) + 1, 4 * (j) + 2,     \
                          4 * (j) + 3, 16 + 4 * (k), 17 + 4 * (k), 18 + 4 * (k), 19 + 4 * (k), 16 + 4 * (l), 17 + 4 * (l), \
                          18 + 4 * (l), 19 + 4 * (l))
#define GATHER_ROWS(p, q, r, s, rows, k)                                                          \
  do {                                                                                            \
    words pq01 = CHOOSE128(p, q, 0, 1, 0, 1), pq23 = CHOOSE128(p, q, 2, 3, 2, 3);                 \
    words rs01 = CHOOSE128(r, s, 0, 1, 0, 1), rs23 = CHOOSE128(r, s, 2, 3, 2, 3);                 \
    words row[4] = {CHOOSE128(pq01, rs01, 0, 2, 0, 2), CHOOSE128(pq01, rs01, 1, 3, 1, 3),         \
                    CHOOSE128(pq23, rs23, 0, 2, 0, 2), CHOOSE128(pq23, rs23, 1, 3, 1, 3)};        \
    for (int b = 0; b < 4; b++) memcpy(rows[4 * b + k], &row[b], 64);                             \
  } while (0)
#include "aead-lanes.h"
#if !defined(__clang__)
#pragma GCC pop_options
#endif
#endif

/* --- the choice --- */

struct code {
  const char *name;
  aead_run *seal, *open;
};

static const struct code CODES[AEAD_CODES] = {
    [AEAD_PORTABLE] = {"portable", seal_chunk_portable, open_chunk_portable},
#if HAS_WIDE
    [AEAD_AVX2] = {"avx2", seal_chunk_avx2, open_chunk_avx2},
    [AEAD_AVX512] = {"avx512", seal_chunk_avx512, open_chunk_avx512},
#else
    [AEAD_AVX2] = {"avx2", NULL, NULL},
    [AEAD_AVX512] = {"avx512", NULL, NULL},
#endif
};

static enum aead_code chosen = AEAD_CODES; /* none yet */

static bool is_there(enum aead_code code) {
  if (CODES[code].seal == NULL) return false;
#if HAS_WIDE && !defined(__clang__)
  /* These ask the operating system too, whether it keeps the registers. */
  if (code == AEAD_AVX2) return __builtin_cpu_supports("avx2");
  if (code == AEAD_AVX512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
#endif
  return true;
}

bool aead_choose(enum aead_code code) {
  if (!is_there(code)) return false;
  __atomic_store_n(&chosen, code, __ATOMIC_RELAXED);
  return true;
}

enum aead_code aead_best(void) {
  enum aead_code best = AEAD_CODES - 1;
  while (!is_there(best)) best--;
  return best;
}

enum aead_code aead_chosen(void) {
  enum aead_code code = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
  return code == AEAD_CODES ? aead_best() : code;
}

const char *aead_name(enum aead_code code) { return CODES[code].name; }

static void in_chunks(aead_run *run, struct aead_job *jobs, size_t count) {
  for (size_t at = 0; at < count; at += AEAD_CHUNK) run(jobs + at, count - at < AEAD_CHUNK ? count - at : AEAD_CHUNK);
}

static void seal_in_chunks(struct aead_job *jobs, size_t count) { in_chunks(CODES[aead_chosen()].seal, jobs, count); }
static void open_in_chunks(struct aead_job *jobs, size_t count) { in_chunks(CODES[aead_chosen()].open, jobs, count); }

void aead_seal(struct aead_job *jobs, size_t count) { crew_run(seal_in_chunks, jobs, count); }
void aead_open(struct aead_job *jobs, size_t count) { crew_run(open_in_chunks, jobs, count); }

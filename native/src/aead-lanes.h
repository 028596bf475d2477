/*
 * The body of the AEAD for one width of vectors, included by aead.c once for each: LANES is the number of 32-bit lanes,
 * NAME(x) gives what is defined here a name of its own, multiply() is the product of the low halves of 64-bit lanes.
 *
 * ChaCha20 has a block of some packet in each 32-bit lane, Poly1305 a packet in each 64-bit lane.
 */
#define WIDE_LANES (LANES / 2)
typedef uint32_t NAME(words) __attribute__((vector_size(4 * LANES)));
typedef uint64_t NAME(wides) __attribute__((vector_size(4 * LANES)));
#define words NAME(words)
#define wides NAME(wides)

/* --- ChaCha20: a list of blocks, LANES of them at once --- */

struct NAME(blocks) {
  struct aead_job *jobs[LANES];
  uint32_t numbers[LANES]; /* of the block: 0 is that of the one-time key */
  int count;
};
#define blocks NAME(blocks)

#define ADD_XOR_ROTATE(a, b, d, bits) (a += b, d ^= a, d = d << (bits) | d >> (32 - (bits)))
#define QUARTER(a, b, c, d) \
  (ADD_XOR_ROTATE(a, b, d, 16), ADD_XOR_ROTATE(c, d, b, 12), ADD_XOR_ROTATE(a, b, d, 8), ADD_XOR_ROTATE(c, d, b, 7))

static inline void NAME(set_up)(const struct blocks *list, words state[16]) {
  static const uint32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  uint32_t lanes[16][LANES];
  const uint32_t *key = list->jobs[0]->key;
  bool is_one_key = true;
  for (int lane = 0; lane < LANES; lane++) {
    /* Places that nobody fills do the first block once more, for nothing. */
    const struct aead_job *job = list->jobs[lane < list->count ? lane : 0];
    if (job->key != key) is_one_key = false;
    lanes[12][lane] = list->numbers[lane < list->count ? lane : 0];
    lanes[14][lane] = (uint32_t)job->counter;
    lanes[15][lane] = (uint32_t)(job->counter >> 32);
  }
  for (int i = 0; i < 4; i++) state[i] = constants[i] - (words){0};
  for (int i = 0; i < AEAD_KEY_WORDS; i++) {
    if (is_one_key) {
      state[4 + i] = little_endian(key[i]) - (words){0};
    } else {
      for (int lane = 0; lane < LANES; lane++) {
        lanes[4 + i][lane] = little_endian(list->jobs[lane < list->count ? lane : 0]->key[i]);
      }
      memcpy(&state[4 + i], lanes[4 + i], sizeof state[0]);
    }
  }
  memcpy(&state[12], lanes[12], sizeof state[0]);
  state[13] = (words){0};
  memcpy(&state[14], lanes[14], sizeof state[0]);
  memcpy(&state[15], lanes[15], sizeof state[0]);
}

/* From a word of each block in a vector to a block in each row. */
static inline void NAME(transpose)(const words state[16], uint32_t rows[LANES][16]) {
  words pieces[4][4];
  for (int group = 0; group < 4; group++) {
    const words *r = state + 4 * group;
    words low01 = SHUFFLE_LOW32(r[0], r[1]), high01 = SHUFFLE_HIGH32(r[0], r[1]);
    words low23 = SHUFFLE_LOW32(r[2], r[3]), high23 = SHUFFLE_HIGH32(r[2], r[3]);
    pieces[group][0] = SHUFFLE_LOW64(low01, low23);
    pieces[group][1] = SHUFFLE_HIGH64(low01, low23);
    pieces[group][2] = SHUFFLE_LOW64(high01, high23);
    pieces[group][3] = SHUFFLE_HIGH64(high01, high23);
  }
  /* pieces[g][k] has in its b-th 128 bits words 4g .. 4g+3 of block 4b+k. */
  for (int k = 0; k < 4; k++) GATHER_ROWS(pieces[0][k], pieces[1][k], pieces[2][k], pieces[3][k], rows, k);
}

/* XORs the key stream into the block's bytes, less where the packet ends. */
static inline void NAME(apply)(const struct aead_job *job, uint32_t number, const uint8_t *stream) {
  size_t at = (size_t)(number - 1) * AEAD_BLOCK_BYTES;
  size_t length = job->length - at, text = job->text > at ? job->text - at : 0;
  if (text >= AEAD_BLOCK_BYTES) {
    xor_bytes(job->target + at, job->source + at, stream, AEAD_BLOCK_BYTES);
    return;
  }
  if (length > AEAD_BLOCK_BYTES) length = AEAD_BLOCK_BYTES;
  uint8_t last[AEAD_BLOCK_BYTES] = {0};
  memcpy(last, job->source + at, text);
  xor_bytes(last, last, stream, AEAD_BLOCK_BYTES);
  memcpy(job->target + at, last, length);
}

static inline void NAME(run_blocks)(struct blocks *list) {
  if (list->count == 0) return;
  words start[16], x[16];
  NAME(set_up)(list, start);
  for (int i = 0; i < 16; i++) x[i] = start[i];
  for (int round = 0; round < 10; round++) {
    QUARTER(x[0], x[4], x[8], x[12]);
    QUARTER(x[1], x[5], x[9], x[13]);
    QUARTER(x[2], x[6], x[10], x[14]);
    QUARTER(x[3], x[7], x[11], x[15]);
    QUARTER(x[0], x[5], x[10], x[15]);
    QUARTER(x[1], x[6], x[11], x[12]);
    QUARTER(x[2], x[7], x[8], x[13]);
    QUARTER(x[3], x[4], x[9], x[14]);
  }
  for (int i = 0; i < 16; i++) x[i] += start[i];
  uint32_t rows[LANES][16] __attribute__((aligned(64)));
  NAME(transpose)(x, rows);
  for (int lane = 0; lane < list->count; lane++) {
    struct aead_job *job = list->jobs[lane];
    for (int i = 0; IS_BIG_ENDIAN && i < 16; i++) rows[lane][i] = little_endian(rows[lane][i]);
    if (list->numbers[lane] == 0) memcpy(job->one_time_key, rows[lane], sizeof job->one_time_key);
    else NAME(apply)(job, list->numbers[lane], (const uint8_t *)rows[lane]);
  }
  list->count = 0;
}

static inline void NAME(add_block)(struct blocks *list, struct aead_job *job, uint32_t number) {
  list->jobs[list->count] = job;
  list->numbers[list->count++] = number;
  if (list->count == LANES) NAME(run_blocks)(list);
}

/* --- Poly1305: WIDE_LANES packets of one length at once, in limbs of 26 bits --- */

struct NAME(poly) {
  wides h[5], r[5], s[5]; /* s: 5 r, what is carried round the modulus 2^130 - 5 */
};
#define poly NAME(poly)

#define LIMB ((uint64_t)0x3ffffff)

static inline void NAME(poly_start)(struct poly *state, struct aead_job *const *jobs) {
  uint64_t low[WIDE_LANES], high[WIDE_LANES];
  for (int lane = 0; lane < WIDE_LANES; lane++) {
    low[lane] = clamp_low(jobs[lane]->one_time_key);
    high[lane] = clamp_high(jobs[lane]->one_time_key);
  }
  wides r0, r1;
  memcpy(&r0, low, sizeof r0);
  memcpy(&r1, high, sizeof r1);
  state->r[0] = r0 & LIMB;
  state->r[1] = r0 >> 26 & LIMB;
  state->r[2] = (r0 >> 52 | r1 << 12) & LIMB;
  state->r[3] = r1 >> 14 & LIMB;
  state->r[4] = r1 >> 40;
  for (int i = 0; i < 5; i++) {
    state->s[i] = state->r[i] * 5;
    state->h[i] = (wides){0};
  }
}

/* One block of 16 bytes of each packet, as two 64-bit words. */
static inline void NAME(poly_block)(struct poly *state, const uint64_t *low_words, const uint64_t *high_words) {
  const wides *r = state->r, *s = state->s;
  wides low, high;
  memcpy(&low, low_words, sizeof low);
  memcpy(&high, high_words, sizeof high);
  wides h0 = state->h[0] + (low & LIMB), h1 = state->h[1] + (low >> 26 & LIMB);
  wides h2 = state->h[2] + ((low >> 52 | high << 12) & LIMB), h3 = state->h[3] + (high >> 14 & LIMB);
  wides h4 = state->h[4] + (high >> 40 | (uint64_t)1 << 24);
  wides d0 = MUL(h0, r[0]) + MUL(h1, s[4]) + MUL(h2, s[3]) + MUL(h3, s[2]) + MUL(h4, s[1]);
  wides d1 = MUL(h0, r[1]) + MUL(h1, r[0]) + MUL(h2, s[4]) + MUL(h3, s[3]) + MUL(h4, s[2]);
  wides d2 = MUL(h0, r[2]) + MUL(h1, r[1]) + MUL(h2, r[0]) + MUL(h3, s[4]) + MUL(h4, s[3]);
  wides d3 = MUL(h0, r[3]) + MUL(h1, r[2]) + MUL(h2, r[1]) + MUL(h3, r[0]) + MUL(h4, s[4]);
  wides d4 = MUL(h0, r[4]) + MUL(h1, r[3]) + MUL(h2, r[2]) + MUL(h3, r[1]) + MUL(h4, r[0]);
  /* Two chains of carries, so that they do not wait for each other. Limbs stay below 2^27. */
  d1 += d0 >> 26, d0 &= LIMB, d4 += d3 >> 26, d3 &= LIMB;
  d2 += d1 >> 26, d1 &= LIMB, d0 += (d4 >> 26) * 5, d4 &= LIMB;
  d3 += d2 >> 26, d2 &= LIMB, d1 += d0 >> 26, d0 &= LIMB;
  d4 += d3 >> 26, d3 &= LIMB;
  state->h[0] = d0, state->h[1] = d1, state->h[2] = d2, state->h[3] = d3, state->h[4] = d4;
}

/* The tags of WIDE_LANES packets of `length` bytes each. */
static inline void NAME(tags_of_many)(struct aead_job *const *jobs, const uint8_t *const *texts, uint32_t length,
                                      uint8_t (*tags)[AEAD_TAG_BYTES]) {
  struct poly state;
  uint64_t low[WIDE_LANES], high[WIDE_LANES];
  NAME(poly_start)(&state, jobs);
  uint32_t at = 0;
  for (; at + 16 <= length; at += 16) {
    for (int lane = 0; lane < WIDE_LANES; lane++) {
      low[lane] = load64(texts[lane] + at);
      high[lane] = load64(texts[lane] + at + 8);
    }
    NAME(poly_block)(&state, low, high);
  }
  if (at < length) {
    for (int lane = 0; lane < WIDE_LANES; lane++) {
      uint8_t last[16] = {0};
      memcpy(last, texts[lane] + at, length - at);
      low[lane] = load64(last);
      high[lane] = load64(last + 8);
    }
    NAME(poly_block)(&state, low, high);
  }
  for (int lane = 0; lane < WIDE_LANES; lane++) low[lane] = 0, high[lane] = length;
  NAME(poly_block)(&state, low, high);
  uint64_t limbs[5][WIDE_LANES];
  memcpy(limbs, state.h, sizeof limbs);
  for (int lane = 0; lane < WIDE_LANES; lane++) {
    const uint64_t h[5] = {limbs[0][lane], limbs[1][lane], limbs[2][lane], limbs[3][lane], limbs[4][lane]};
    finish_tag(h, jobs[lane]->one_time_key, tags[lane]);
  }
}

/* The tags of a chunk, whose texts are sources or targets. Neighbours of one length go together. */
static inline void NAME(tags_of)(struct aead_job *jobs, size_t count, bool of_target, uint8_t (*tags)[AEAD_TAG_BYTES]) {
  for (size_t i = 0; i < count;) {
    struct aead_job *group[WIDE_LANES];
    const uint8_t *texts[WIDE_LANES];
    size_t many = 0;
    while (many < WIDE_LANES && i + many < count && jobs[i + many].length == jobs[i].length) {
      group[many] = &jobs[i + many];
      texts[many] = of_target ? group[many]->target : group[many]->source;
      many++;
    }
    /* The lanes cost the same, however many of them are used: of few packets each has its tag alone. */
    if (2 * many <= WIDE_LANES) {
      for (size_t k = 0; k < many; k++) tag_of_one(group[k], texts[k], tags[i + k]);
    } else {
      uint8_t found[WIDE_LANES][AEAD_TAG_BYTES];
      for (size_t k = many; k < WIDE_LANES; k++) group[k] = group[0], texts[k] = texts[0];
      NAME(tags_of_many)(group, texts, jobs[i].length, found);
      memcpy(tags[i], found, many * AEAD_TAG_BYTES);
    }
    i += many;
  }
}

/* --- a chunk of packets --- */

static void NAME(seal_chunk)(struct aead_job *jobs, size_t count) {
  struct blocks list = {.count = 0};
  uint8_t tags[AEAD_CHUNK][AEAD_TAG_BYTES];
  for (size_t i = 0; i < count; i++) {
    for (uint32_t number = 0; number <= blocks_in(jobs[i].length); number++) NAME(add_block)(&list, &jobs[i], number);
  }
  NAME(run_blocks)(&list);
  NAME(tags_of)(jobs, count, true, tags);
  for (size_t i = 0; i < count; i++) memcpy(jobs[i].target + jobs[i].length, tags[i], AEAD_TAG_BYTES);
}

static void NAME(open_chunk)(struct aead_job *jobs, size_t count) {
  struct blocks list = {.count = 0};
  uint8_t tags[AEAD_CHUNK][AEAD_TAG_BYTES];
  for (size_t i = 0; i < count; i++) NAME(add_block)(&list, &jobs[i], 0);
  NAME(run_blocks)(&list);
  NAME(tags_of)(jobs, count, false, tags);
  for (size_t i = 0; i < count; i++) {
    jobs[i].is_authentic = is_equal(tags[i], jobs[i].source + jobs[i].length);
    if (!jobs[i].is_authentic) continue;
    for (uint32_t number = 1; number <= blocks_in(jobs[i].length); number++) NAME(add_block)(&list, &jobs[i], number);
  }
  NAME(run_blocks)(&list);
}

#undef WIDE_LANES
#undef words
#undef wides
#undef blocks
#undef poly
#undef QUARTER
#undef ADD_XOR_ROTATE
#undef LIMB
#undef LANES
#undef NAME
#undef MUL
#undef SHUFFLE_LOW32
#undef SHUFFLE_HIGH32
#undef SHUFFLE_LOW64
#undef SHUFFLE_HIGH64
#undef GATHER_ROWS

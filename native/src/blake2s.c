/* See blake2s.h; the names are those of RFC 7693. */
#include "blake2s.h"

#include <string.h>

#define BLOCK_BYTES 64

static const uint32_t IV[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static const uint8_t SIGMA[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static uint32_t load32(const uint8_t *bytes) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static uint32_t rotate(uint32_t word, int bits) { return word >> bits | word << (32 - bits); }

static void mix(uint32_t v[16], int a, int b, int c, int d, uint32_t x, uint32_t y) {
  v[a] += v[b] + x;
  v[d] = rotate(v[d] ^ v[a], 16);
  v[c] += v[d];
  v[b] = rotate(v[b] ^ v[c], 12);
  v[a] += v[b] + y;
  v[d] = rotate(v[d] ^ v[a], 8);
  v[c] += v[d];
  v[b] = rotate(v[b] ^ v[c], 7);
}

static void compress(uint32_t h[8], const uint8_t block[BLOCK_BYTES], uint64_t counter, uint32_t final) {
  uint32_t v[16], m[16];
  for (int i = 0; i < 16; i++) m[i] = load32(block + 4 * i);
  memcpy(v, h, 8 * sizeof *v);
  memcpy(v + 8, IV, 8 * sizeof *v);
  v[12] ^= (uint32_t)counter;
  v[13] ^= (uint32_t)(counter >> 32);
  v[14] ^= final;
  for (int round = 0; round < 10; round++) {
    const uint8_t *s = SIGMA[round];
    mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
    mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
    mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
    mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
    mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
    mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
    mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
    mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
  }
  for (int i = 0; i < 8; i++) h[i] ^= v[i] ^ v[8 + i];
}

void blake2s_mac(const uint8_t *key, size_t key_length, const uint8_t *message, size_t length, uint8_t mac[MAC_BYTES]) {
  uint32_t h[8];
  uint8_t block[BLOCK_BYTES] = {0};
  memcpy(h, IV, sizeof h);
  h[0] ^= 0x01010000 ^ (uint32_t)key_length << 8 ^ MAC_BYTES;
  /* The key is the first block; it is the last one too if no message follows. */
  memcpy(block, key, key_length);
  uint64_t counter = BLOCK_BYTES;
  compress(h, block, counter, length == 0 ? UINT32_MAX : 0);
  while (length > 0) {
    size_t part = length < BLOCK_BYTES ? length : BLOCK_BYTES;
    memset(block, 0, sizeof block);
    memcpy(block, message, part);
    message += part;
    length -= part;
    counter += part;
    compress(h, block, counter, length == 0 ? UINT32_MAX : 0);
  }
  for (int i = 0; i < MAC_BYTES; i++) mac[i] = (uint8_t)(h[i / 4] >> (8 * (i % 4)));
}

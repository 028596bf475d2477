/*
 * The cipher without Node, for a machine that this one only emulates. Packets come by stdin, each as its length, key, counter, text
 * and what another implementation has made of it; the end is 0 if all are sealed to that and opened again, in every code.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../native/src/aead.h"
#include "../../native/src/blake2s.h"

enum { MAX_PACKETS = 4096, MAX_TEXT = 2048 };

static struct aead_job jobs[MAX_PACKETS];
static uint32_t keys[MAX_PACKETS][AEAD_KEY_WORDS], lengths[MAX_PACKETS];
static uint64_t counters[MAX_PACKETS];
static uint8_t texts[MAX_PACKETS][MAX_TEXT], expected[MAX_PACKETS][MAX_TEXT + AEAD_TAG_BYTES];
static uint8_t sealed[MAX_PACKETS][MAX_TEXT + AEAD_TAG_BYTES];

static size_t read_packets(void) {
  size_t count = 0;
  while (count < MAX_PACKETS && fread(&lengths[count], 4, 1, stdin) == 1) {
    size_t length = lengths[count];
    if (length > MAX_TEXT || fread(keys[count], sizeof keys[0], 1, stdin) != 1 || fread(&counters[count], 8, 1, stdin) != 1 ||
        fread(texts[count], 1, length, stdin) != length ||
        fread(expected[count], 1, length + AEAD_TAG_BYTES, stdin) != length + AEAD_TAG_BYTES) {
      exit(2);
    }
    count++;
  }
  return count;
}

static void set_jobs(size_t count, int is_open) {
  for (size_t i = 0; i < count; i++) {
    int is_same = i > 0 && memcmp(keys[i], keys[i - 1], sizeof keys[i]) == 0;
    jobs[i] = (struct aead_job){.source = is_open ? sealed[i] : texts[i],
                                .target = sealed[i],
                                .key = is_same ? jobs[i - 1].key : keys[i],
                                .counter = counters[i],
                                .text = lengths[i],
                                .length = lengths[i]};
  }
}

static size_t wrong_in(size_t count) {
  size_t wrong = 0;
  set_jobs(count, 0);
  aead_seal(jobs, count);
  for (size_t i = 0; i < count; i++) wrong += memcmp(sealed[i], expected[i], lengths[i] + AEAD_TAG_BYTES) != 0;
  for (size_t i = 0; i < count; i += 3) sealed[i][i % (lengths[i] + AEAD_TAG_BYTES)] ^= 4;
  set_jobs(count, 1);
  aead_open(jobs, count);
  for (size_t i = 0; i < count; i++) {
    if (jobs[i].is_authentic != (i % 3 != 0)) wrong++;
    else if (jobs[i].is_authentic) wrong += memcmp(sealed[i], texts[i], lengths[i]) != 0;
  }
  return wrong;
}

int main(void) {
  size_t count = read_packets(), wrong = 0;
  for (int code = 0; code < AEAD_CODES; code++) {
    if (!aead_choose((enum aead_code)code)) continue;
    size_t found = wrong_in(count);
    printf("%s: %zu packets, %zu wrong\n", aead_name((enum aead_code)code), count, found);
    wrong += found;
  }
  uint8_t mac[MAC_BYTES];
  blake2s_mac((const uint8_t *)"0123456789abcdef0123456789abcdef", 32, (const uint8_t *)"a message", 9, mac);
  for (int i = 0; i < MAC_BYTES; i++) printf("%02x", mac[i]);
  printf("\n");
  return wrong == 0 && count > 0 ? 0 : 1;
}

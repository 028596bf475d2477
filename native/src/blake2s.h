/* Keyed BLAKE2s (RFC 7693) of 16 bytes: WireGuard's mac1, mac2 and cookies. */
#ifndef RUDDER_BLAKE2S_H
#define RUDDER_BLAKE2S_H

#include <stddef.h>
#include <stdint.h>

#define MAC_BYTES 16
#define MAC_MAX_KEY_BYTES 32

/* @param key_length 1 to MAC_MAX_KEY_BYTES */
void blake2s_mac(const uint8_t *key, size_t key_length, const uint8_t *message, size_t length, uint8_t mac[MAC_BYTES]);

#endif

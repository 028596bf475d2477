#include <errno.h>
#include <stdlib.h>

#include <linux/if_tun.h>
#include <linux/virtio_net.h>

#include "sessions.h"

/* Since Linux 6.2; the headers of Debian 12 are older. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* Runs when the environment (main thread or worker) ends, however it ends. */
static void environment_ended(void *data) {
  napi_env env = data;
  void *instance = NULL;
  if (napi_get_instance_data(env, &instance) == napi_ok && instance != NULL) {
    path_release(env, &((struct instance *)instance)->path);
  }
  handles_close_owned(env);
}

static void finalize_instance(napi_env env, void *instance, void *hint) {
  (void)hint;
  napi_delete_reference(env, ((struct instance *)instance)->is_growable);
  free(instance);
}

/* Kept from the start, so that nothing JavaScript does later to the prototype changes it. */
static bool keep_growable_getter(napi_env env, napi_ref *reference) {
  static const char text[] = "Object.getOwnPropertyDescriptor(SharedArrayBuffer.prototype, 'growable').get";
  napi_value script, getter;
  return napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &script) == napi_ok &&
         napi_run_script(env, script, &getter) == napi_ok && napi_create_reference(env, getter, 1, reference) == napi_ok;
}

static bool define_function(napi_env env, napi_value exports, const char *name, napi_callback callback) {
  napi_value function;
  return napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, NULL, &function) == napi_ok &&
         napi_set_named_property(env, exports, name, function) == napi_ok;
}

static bool define_layout(napi_env env, napi_value exports) {
  static const struct {
    const char *name;
    int32_t value;
  } constants[] = {
      {"recordInts", RECORD_INTS},
      {"iovecInts", IOVEC_INTS},
      {"checksumInts", CHECKSUM_INTS},
      {"slotBytes", SLOT_BYTES},
      {"pageBytes", PAGE_BYTES},
      {"outboundSkewBytes", OUTBOUND_SKEW_BYTES},
      {"inboundSkewBytes", INBOUND_SKEW_BYTES},
      {"maxMessages", MAX_MESSAGES},
      {"maxSpreadHeader", MAX_SPREAD_HEADER},
      {"minSpreadSegment", MIN_SPREAD_SEGMENT},
      {"maxDatagrams", MAX_DATAGRAMS},
      {"slabOutbound", SLAB_OUTBOUND},
      {"slabInbound", SLAB_INBOUND},
      {"slabHeaders", SLAB_HEADERS},
      {"tunReadable", TUN_READABLE},
      {"udpReadable", UDP_READABLE},
      {"udpWritable", UDP_WRITABLE},
      {"stopSignalled", STOP_SIGNALLED},
      {"tunFailed", TUN_FAILED},
      {"spunInVain", SPUN_IN_VAIN},
      {"badDescriptorState", EBADFD},
      {"noKey", ENOKEY},
      {"ringFailed", RING_FAILED},
      {"offloadChecksum", TUN_F_CSUM},
      {"offloadTso4", TUN_F_TSO4},
      {"offloadTsoEcn", TUN_F_TSO_ECN},
      {"offloadUso", TUN_F_USO4 | TUN_F_USO6},
      {"vnetBytes", sizeof(struct virtio_net_hdr)},
      {"vnetNeedsChecksum", VIRTIO_NET_HDR_F_NEEDS_CSUM},
      {"gsoTcp4", VIRTIO_NET_HDR_GSO_TCPV4},
      {"gsoUdp", VIRTIO_NET_HDR_GSO_UDP_L4},
      {"gsoEcn", VIRTIO_NET_HDR_GSO_ECN},
      {"packetOffset", PACKET_OFFSET},
      {"packetLength", PACKET_LENGTH},
      {"packetVnetFlags", PACKET_VNET_FLAGS},
      {"packetGsoType", PACKET_GSO_TYPE},
      {"packetHeaderLength", PACKET_HEADER_LENGTH},
      {"packetGsoSize", PACKET_GSO_SIZE},
      {"packetCsumStart", PACKET_CSUM_START},
      {"packetCsumOffset", PACKET_CSUM_OFFSET},
      {"datagramOffset", DATAGRAM_OFFSET},
      {"datagramLength", DATAGRAM_LENGTH},
      {"datagramSender", DATAGRAM_SENDER},
      {"datagramPort", DATAGRAM_PORT},
      {"datagramSegmentSize", DATAGRAM_SEGMENT_SIZE},
      {"datagramTruncated", DATAGRAM_TRUNCATED},
      {"sendFirstIovec", SEND_FIRST_IOVEC},
      {"sendIovecCount", SEND_IOVEC_COUNT},
      {"sendAddress", SEND_ADDRESS},
      {"sendPort", SEND_PORT},
      {"sendSegmentSize", SEND_SEGMENT_SIZE},
      {"sendPeer", SEND_PEER},
      {"writeFirstIovec", WRITE_FIRST_IOVEC},
      {"writeIovecCount", WRITE_IOVEC_COUNT},
      {"writeVnetFlags", WRITE_VNET_FLAGS},
      {"writeGsoType", WRITE_GSO_TYPE},
      {"writeHeaderLength", WRITE_HEADER_LENGTH},
      {"writeGsoSize", WRITE_GSO_SIZE},
      {"writeCsumStart", WRITE_CSUM_START},
      {"writeCsumOffset", WRITE_CSUM_OFFSET},
      {"iovecSlab", IOVEC_SLAB},
      {"iovecOffset", IOVEC_OFFSET},
      {"iovecLength", IOVEC_LENGTH},
      {"checksumOffset", CHECKSUM_OFFSET},
      {"checksumLength", CHECKSUM_LENGTH},
      {"checksumRest", CHECKSUM_REST},
      {"checksumField", CHECKSUM_FIELD},
      {"checksumWrong", CHECKSUM_WRONG},
      {"checksumZero", CHECKSUM_ZERO},
      {"jobSource", JOB_SOURCE},
      {"jobText", JOB_TEXT},
      {"jobTarget", JOB_TARGET},
      {"jobLength", JOB_LENGTH},
      {"jobKey", JOB_KEY},
      {"jobCounter", JOB_COUNTER},
      {"jobIsAuthentic", JOB_IS_AUTHENTIC},
      {"jobInts", JOB_INTS},
      {"headerMtu", HEADER_MTU},
      {"headerRejectAfterMs", HEADER_REJECT_AFTER_MS},
      {"headerMacKey", HEADER_MAC_KEY},
      {"headerMailTail", HEADER_MAIL_TAIL},
      {"headerMailHead", HEADER_MAIL_HEAD},
      {"headerAttentionTail", HEADER_ATTENTION_TAIL},
      {"headerAttentionHead", HEADER_ATTENTION_HEAD},
      {"headerRequestTail", HEADER_REQUEST_TAIL},
      {"headerRequestHead", HEADER_REQUEST_HEAD},
      {"headerBell", HEADER_BELL},
      {"headerTally", HEADER_TALLY},
      {"headerInts", HEADER_INTS},
      {"lineCurrent", LINE_CURRENT},
      {"lineAttention", LINE_ATTENTION},
      {"lineAddress", LINE_ADDRESS},
      {"linePort", LINE_PORT},
      {"lineRequests", LINE_REQUESTS},
      {"lineSent", LINE_SENT},
      {"lineReceived", LINE_RECEIVED},
      {"lineUnansweredSince", LINE_UNANSWERED_SINCE},
      {"lineOwedSince", LINE_OWED_SINCE},
      {"lineHeadInts", LINE_HEAD_INTS},
      {"lineInts", LINE_INTS},
      {"slotIndex", SLOT_INDEX},
      {"slotState", SLOT_STATE},
      {"slotRemoteIndex", SLOT_REMOTE_INDEX},
      {"slotBornAt", SLOT_BORN_AT},
      {"slotSendCounter", SLOT_SEND_COUNTER},
      {"slotReceived", SLOT_RECEIVED},
      {"slotIsConfirmed", SLOT_IS_CONFIRMED},
      {"slotSendKey", SLOT_SEND_KEY},
      {"slotReceiveKey", SLOT_RECEIVE_KEY},
      {"slotInts", SLOT_INTS},
      {"slotEmpty", SLOT_EMPTY},
      {"slotReserved", SLOT_RESERVED},
      {"slotInstalled", SLOT_INSTALLED},
      {"lineSlots", LINE_SLOTS},
      {"indexSlotBits", INDEX_SLOT_BITS},
      {"indexLineBits", INDEX_LINE_BITS},
      {"maxLines", MAX_LINES},
      {"attentionWantsSession", ATTENTION_WANTS_SESSION},
      {"attentionConfirmed", ATTENTION_CONFIRMED},
      {"requestSendStaged", REQUEST_SEND_STAGED},
      {"requestKeepalive", REQUEST_KEEPALIVE},
      {"requestDropStaged", REQUEST_DROP_STAGED},
      {"windowInts", WINDOW_INTS},
      {"mailLength", MAIL_LENGTH},
      {"mailAddress", MAIL_ADDRESS},
      {"mailPort", MAIL_PORT},
      {"mailBytes", MAIL_BYTES},
      {"mailInts", MAIL_INTS},
      {"mailboxSize", MAILBOX_SIZE},
      {"openedOffset", OPENED_OFFSET},
      {"openedLength", OPENED_LENGTH},
      {"openedPeer", OPENED_PEER},
      {"openedInts", OPENED_INTS},
      {"tallyNews", TALLY_NEWS},
      {"tallyNoSession", TALLY_NO_SESSION},
      {"tallyBadTag", TALLY_BAD_TAG},
      {"tallyReplay", TALLY_REPLAY},
      {"tallyBadMac", TALLY_BAD_MAC},
      {"tallyMailboxFull", TALLY_MAILBOX_FULL},
      {"tallyMalformed", TALLY_MALFORMED},
      {"tallyTruncated", TALLY_TRUNCATED},
      {"tallySegments", TALLY_SEGMENTS},
      {"tallyKeepalivesIn", TALLY_KEEPALIVES_IN},
      {"tallyHandshakesIn", TALLY_HANDSHAKES_IN},
      {"tallyStagedDropped", TALLY_STAGED_DROPPED},
      {"tallyKeepalivesOut", TALLY_KEEPALIVES_OUT},
      {"tallyStagedSent", TALLY_STAGED_SENT},
      {"tallyStagedBytes", TALLY_STAGED_BYTES},
      {"tallyStagedFailed", TALLY_STAGED_FAILED},
      {"cipherPortable", AEAD_PORTABLE},
      {"cipherAvx2", AEAD_AVX2},
      {"cipherAvx512", AEAD_AVX512},
      {"echoType", ECHO_TYPE},
      {"echoSource", ECHO_SOURCE},
      {"echoId", ECHO_ID},
      {"echoSequence", ECHO_SEQUENCE},
      {"echoLength", ECHO_LENGTH},
      {"echoReceived", ECHO_RECEIVED},
      {"echoFields", ECHO_FIELDS},
  };
  napi_value layout;
  if (napi_create_object(env, &layout) != napi_ok) return false;
  for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
    if (napi_set_named_property(env, layout, constants[i].name, int_value(env, constants[i].value)) != napi_ok) {
      return false;
    }
  }
  return napi_set_named_property(env, exports, "layout", layout) == napi_ok;
}

NAPI_MODULE_INIT() {
  static const struct {
    const char *name;
    napi_callback callback;
  } functions[] = {
      {"openTun", open_tun},
      {"setTunPersistent", set_tun_persistent},
      {"setTunOffload", set_tun_offload},
      {"openUdp", open_udp},
      {"setUdpGro", set_udp_gro},
      {"probeUdpGso", probe_udp_gso},
      {"probeRing", probe_ring},
      {"udpDrops", udp_drops},
      {"openEvent", open_event},
      {"openNetlink", open_netlink},
      {"openEcho", open_echo},
      {"sendEcho", send_echo},
      {"receiveEchoes", receive_echoes},
      {"signalEvent", signal_event},
      {"close", close_handle},
      {"notify", notify_socket},
      {"forbidCoreDumps", forbid_core_dumps},
      {"attach", attach_path},
      {"detach", detach_path},
      {"openRing", open_ring},
      {"closeRing", close_ring},
      {"wait", wait_ready},
      {"readTun", read_tun},
      {"sendUdp", send_udp},
      {"receiveUdp", receive_udp},
      {"writeTun", write_tun},
      {"finishChecksums", finish_checksums},
      {"verifyChecksums", verify_checksums},
      {"attachSealed", attach_sealed},
      {"sealUdp", seal_udp},
      {"sendSealed", send_sealed},
      {"receiveSealed", receive_sealed},
      {"attend", attend},
      {"sendDatagram", send_datagram},
      {"mac", keyed_mac},
      {"useCipher", use_cipher},
      {"useCipherThreads", use_cipher_threads},
      {"cipher", cipher_in_use},
      {"sealAll", seal_all},
      {"openAll", open_all},
  };
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    if (!define_function(env, exports, functions[i].name, functions[i].callback)) return NULL;
  }
  struct instance *instance = malloc(sizeof *instance);
  if (instance == NULL) return NULL;
  *instance = (struct instance){.path = DETACHED_PATH};
  if (!keep_growable_getter(env, &instance->is_growable) ||
      napi_set_instance_data(env, instance, finalize_instance, NULL) != napi_ok) {
    free(instance);
    return NULL;
  }
  if (napi_add_env_cleanup_hook(env, environment_ended, env) != napi_ok) return NULL;
  return define_layout(env, exports) ? exports : NULL;
}

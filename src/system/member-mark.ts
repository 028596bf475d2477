import type { FirewallSettings } from './firewall-rules.js';
import { outside, within } from './nft-match.js';

/**
 * Where packets go as they are, what other nodes themselves send to our containers comes from their addresses in the
 * underlay. Such members are let in, and nobody else of that link. Only `iptables` can accept what others' rules there would
 * drop, and only nft has sets: so our nft table marks what comes from a member, or is an answer to one, and our chains in
 * `iptables` accept what is marked.
 *
 *     hook prerouting   -350 marked    -300 RUDDER-PREROUTING (raw)       -290 unmarked, before routes are looked for
 *     hook forward      -350 marked       0 RUDDER-FORWARD (filter)        500 unmarked
 *
 * So nobody else ever takes the bit for one of his, and one of somebody else lets nobody in.
 */
type Way = Pick<FirewallSettings, 'bareWay' | 'network' | 'subnet'>;

/**
 * Not kube-proxy's (0x4000, 0x8000), nor that of the CNI's portmap and of Podman (0x2000), nor those of kube-router, Calico and
 * Tailscale, all above 0xffff. flannel and Docker set none on such packets, and VXLAN's GBP one only on those of its own device.
 */
const BIT = 0x1000;
const hex = (value: number) => `0x${(value >>> 0).toString(16)}`;

/** For a rule of `iptables`, as `iptables-save` prints it. */
export const ACCEPT_MEMBER = `-m mark --mark ${hex(BIT)}/${hex(BIT)} -j ACCEPT`;

const MARK = `meta mark set meta mark | ${hex(BIT)}`;
const UNMARK = `meta mark set meta mark & ${hex(~BIT)}`;

/** A rule of nft for what comes to our subnet in no foreign one's name, where a member may have sent it. */
const inward = ({ bareWay, network, subnet }: Way, what: string) =>
  bareWay === undefined
    ? ''
    : `    ${within('daddr', subnet)} ${outside('saddr', network)} iifname "${bareWay}" ${what}\n`;

const outward = ({ bareWay, network, subnet }: Way, what: string) =>
  bareWay === undefined
    ? ''
    : `    ${within('saddr', subnet)} ${outside('daddr', network)} oifname "${bareWay}" ${what}\n`;

/** The first rules of chains of ours, by the hook that they are at. */
export const marksArriving = (way: Way) => inward(way, 'jump from_member');
export const marksForwarded = (way: Way) => inward(way, 'jump from_member') + outward(way, 'jump answer_to_member');
export const unmarksForwarded = (way: Way) => inward(way, UNMARK) + outward(way, UNMARK);

/** @param members name of the set. Where nothing is tracked nobody knows which packets are answers */
export function markChains(settings: Way & Pick<FirewallSettings, 'isTracked'>, members: string): string {
  if (settings.bareWay === undefined) return '';
  return `  chain from_member {
    ${UNMARK}
    ip saddr @${members} ${MARK}
  }
  chain answer_to_member {
    ${UNMARK}
    ip daddr @${members} ${settings.isTracked ? 'ct state established,related ' : ''}${MARK}
  }
  chain arrived {
    type filter hook prerouting priority -290; policy accept;
${inward(settings, UNMARK)}  }
`;
}

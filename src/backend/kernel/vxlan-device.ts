import { errnoOf, RudderError } from '../../core/errors.js';
import { formatIpv4, type Ipv4 } from '../../core/ipv4.js';
import type { Logger } from '../../core/logger.js';
import { contains, type Subnet } from '../../core/subnet.js';
import { removeOwnDevices } from '../../system/marked-devices.js';
import type { DetailedLink, Mac, Netlink } from '../../system/netlink.js';
import { macOf } from './mac.js';
import { bringUp, putLinkRight } from './own-device.js';
import type { Looked } from './sync.js';
import { findUnderlay } from './underlay-link.js';
import { portTaken, refused, taken } from './vxlan-errors.js';

/** Outer IP, UDP and VXLAN headers, and the inner Ethernet header. */
export const VXLAN_OVERHEAD_BYTES = 50;

/** Where the datagrams go out, and from which address. */
export interface VxlanUnderlay {
  readonly name: string;
  readonly address: Ipv4;
}

export interface VxlanOptions {
  readonly netlink: Netlink;
  readonly vni: number;
  readonly port: number;
  /** Group Based Policy: a mark of each packet in the VXLAN header. */
  readonly gbp: boolean;
  /** From which the MAC is derived, so that a device made anew is still the one that peers know. */
  readonly nodeId: string;
  readonly network: Subnet;
  readonly underlay: VxlanUnderlay;
  /** The MTU of the device; it is never larger than what the underlay carries. */
  readonly mtu: number;
  readonly log: Logger;
}

/** A device of kind vxlan, which is there from the opening on; it is up, with our address, once it is configured. */
export interface VxlanDevice {
  readonly name: string;
  /** Whether there was none of an earlier run. */
  readonly isNew: boolean;
  /** What peers have to know: VtepMAC. */
  readonly mac: Mac;
  /** As it is at the moment. */
  mtu(): number;
  /** Gives it our subnet's first address, and brings it up. @throws RudderError */
  configure(own: Subnet): Promise<void>;
  /** Follows the host. Its MAC, entries and traffic stay. @throws RudderError */
  adapt(underlay: VxlanUnderlay, mtu: number): Promise<void>;
  /** Puts back what somebody has changed of it, and makes it anew if it was deleted. @throws RudderError */
  ensure(): Promise<Looked>;
  /** With all entries and routes through it. */
  remove(): Promise<void>;
}

/**
 * Takes over the device of an earlier run, flannel's too, if it agrees: its MAC, entries and traffic stay. One that does
 * not is replaced, so that there is never a second one.
 * @throws RudderError `device`
 */
export async function openVxlanDevice(options: VxlanOptions): Promise<VxlanDevice> {
  const { netlink, vni, log } = options;
  const kept = await chooseLeftover(options);
  const name = kept?.name ?? `rudder.${vni}`;
  if (kept !== undefined) log.info({ device: name, mac: kept.mac }, 'the device of an earlier run is kept');
  const mac = kept?.mac ?? macOf(options.nodeId);
  const state: Mutable = { underlay: options.underlay, mtu: options.mtu, own: undefined, mtuInForce: options.mtu };
  const ensure = () => ensureDevice({ ...options, name, mac }, state);
  await ensure();
  return {
    name,
    isNew: kept === undefined,
    mac,
    mtu: () => state.mtuInForce,
    async configure(own) {
      state.own = own;
      await ensure();
    },
    async adapt(underlay, mtu) {
      state.underlay = underlay;
      state.mtu = mtu;
      await ensure();
    },
    ensure,
    async remove() {
      const link = await netlink.link(name);
      if (link?.kind === 'vxlan') await netlink.deleteLink(link.index);
    },
  };
}

/** What changes while it runs. */
interface Mutable {
  underlay: VxlanUnderlay;
  mtu: number;
  /** Undefined: not configured yet. */
  own: Subnet | undefined;
  mtuInForce: number;
}

type Settings = VxlanOptions & { readonly name: string; readonly mac: Mac };

/** Finds what to keep among what earlier runs have left, and deletes the rest of it. */
async function chooseLeftover(options: VxlanOptions): Promise<DetailedLink | undefined> {
  const { netlink, vni, log } = options;
  let kept: DetailedLink | undefined;
  for (const name of [`flannel.${vni}`, `rudder.${vni}`]) {
    const link = await netlink.details(name);
    if (link?.vxlan === undefined) continue;
    if (kept === undefined && disagreement(link, options) === undefined) kept = link;
    else {
      await netlink.deleteLink(link.index);
      log.warn(
        { device: name, reason: disagreement(link, options) },
        'the device of an earlier run does not fit: replaced',
      );
    }
  }
  const removed = await removeOwnDevices(netlink, 'vxlan', kept?.name);
  for (const name of [...removed, ...(await removeFlannelsOthers(options))]) {
    log.info({ device: name }, 'the device of an earlier network config is removed');
  }
  return kept;
}

/**
 * What flannel left of another VNI has our address and our peers' routes. That it is of this cluster its address tells: on
 * a host with two networks the other one's flannel may run. @returns the names
 */
async function removeFlannelsOthers({ netlink, vni, network }: VxlanOptions): Promise<string[]> {
  const others = (await netlink.links()).filter(
    ({ kind, name }) => kind === 'vxlan' && /^flannel\.\d+$/.test(name) && name !== `flannel.${vni}`,
  );
  if (others.length === 0) return [];
  const inside = (await netlink.addresses()).filter(({ address }) => contains(network, address));
  const ours = others.filter(({ index }) => inside.some((entry) => entry.index === index));
  for (const { index } of ours) await netlink.deleteLink(index);
  return ours.map(({ name }) => name);
}

/** What of a device cannot be changed in place; undefined: nothing. */
function disagreement({ vxlan }: DetailedLink, { vni, port, gbp }: VxlanOptions): string | undefined {
  if (vxlan === undefined) return 'of another kind';
  if (vxlan.id !== vni) return `with VNI ${vxlan.id} instead of ${vni}`;
  if (vxlan.port !== port) return `with port ${vxlan.port} instead of ${port}`;
  if (vxlan.gbp !== gbp) return `${vxlan.gbp ? 'with' : 'without'} GBP`;
  if (vxlan.isOfAnotherSort) return 'with a default destination';
  return undefined;
}

async function ensureDevice(settings: Settings, state: Mutable): Promise<Looked> {
  const { netlink, name } = settings;
  const underlay = await findUnderlay(netlink, state.underlay.name);
  const mtu = Math.min(state.mtu, underlay.mtu - VXLAN_OVERHEAD_BYTES);
  const found: string[] = [];
  try {
    let link = await netlink.details(name);
    if (link !== undefined && link.kind !== 'vxlan') throw await taken(settings, netlink);
    const misfit = link === undefined ? 'gone' : disagreement(link, settings);
    if (misfit !== undefined) {
      if (link !== undefined) await netlink.deleteLink(link.index);
      // Ours under a name that somebody has given it keeps its VNI and port.
      else await removeOwnDevices(netlink, 'vxlan');
      link = await create(settings, underlay.index, state.underlay.address, mtu);
      found.push(misfit);
    }
    found.push(...(await putRight(settings, state, link!, underlay.index, mtu)));
    if (state.own !== undefined) {
      const whole = { netlink, network: settings.network, portTaken: () => portTaken(settings) };
      found.push(...(await bringUp(whole, link!, state.own)));
    }
    state.mtuInForce = mtu;
    const ground = { underlay: { index: underlay.index, name: underlay.name }, tunnel: link!.index, mac: settings.mac };
    return { ground, repaired: found.join(', ') || undefined };
  } catch (error) {
    throw error instanceof RudderError ? error : refused(settings, error);
  }
}

async function create(settings: Settings, link: number, local: Ipv4, mtu: number): Promise<DetailedLink> {
  const { netlink, name, mac, vni: id, port, gbp } = settings;
  try {
    await netlink.createVxlan({ name, mac, mtu, id, link, local, port, gbp, learning: false });
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw await taken(settings, netlink);
    throw error;
  }
  const made = await netlink.details(name);
  if (made === undefined) throw new RudderError('device', `VXLAN device ${name} vanished while it was set up`);
  return made;
}

/** What can be changed in place. @returns what was wrong, in words */
async function putRight(
  { netlink, mac, vni: id }: Settings,
  { underlay: { address: local }, mtuInForce }: Mutable,
  link: DetailedLink,
  underlay: number,
  mtu: number,
): Promise<string[]> {
  const { index, vxlan } = link;
  const found: string[] = [];
  if (vxlan?.local !== local || vxlan.link !== underlay || vxlan.learning) {
    await netlink.changeVxlan(index, { id, link: underlay, local, learning: false });
    found.push(vxlan?.local === local ? 'with another underlay' : `without ${formatIpv4(local)} as its local address`);
  }
  if (link.mac !== mac) {
    await netlink.setMac(index, mac);
    found.push(`with MAC ${link.mac} instead of ${mac}`);
  }
  found.push(...(await putLinkRight(netlink, link, mtu, mtuInForce)));
  return found;
}

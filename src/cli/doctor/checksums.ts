import { ok, unknown, warn } from './findings.js';
import type { Facts, Finding } from './host.js';

/**
 * Some hosts leave the checksum of a packet in VXLAN to what cannot compute it, so that large packets or those of services
 * are dropped at the other end while pings pass: kernels before 5.7, where both the inner and the outer packet were translated
 * (kube-proxy's services), and VMware's card, which computes it for the ports that it knows only.
 */
const MENDED = [5, 7] as const;
const BAD_DRIVERS = ['vmxnet3'];
/** Made of other interfaces, whose cards may be any. */
const STACKED = ['bonding', 'team', 'bridge', '802.1Q VLAN Support', 'macvlan', 'ipvlan'];
const FEATURE = 'tx-checksum-ip-generic';

/** Whether the VXLAN device leaves checksums to a kernel or a card that is known to spoil them. */
export async function checksums(host: Facts): Promise<Finding[]> {
  if (host.status?.backend.type !== 'vxlan') return [];
  const { device, node } = host.status;
  const release = (await host.read('/proc/sys/kernel/osrelease'))?.trim();
  if (release === undefined) return [unknown('checksums', '/proc/sys cannot be read', 'run as root')];
  // Of this network namespace, which /sys may not be.
  const named = /^driver: (.+)$/m.exec((await host.run('ethtool', ['-i', node.interface])) ?? '')?.[1];
  const driver = named !== undefined && STACKED.includes(named) ? undefined : named;
  const [major, minor] = release.split('.').map(Number);
  const isOld = major < MENDED[0] || (major === MENDED[0] && minor < MENDED[1]);
  const isBadCard = driver !== undefined && BAD_DRIVERS.includes(driver);
  const card = `${node.interface} (${driver})`;
  if (!isOld && !isBadCard) {
    const detail =
      driver === undefined
        ? `kernel ${release} is not known to spoil them; which card ${node.interface} has is not known`
        : `neither kernel ${release} nor ${card} is known to spoil them`;
    return [ok('checksums', detail)];
  }
  const culprit = isOld ? `kernel ${release}` : card;
  const remedy = `ethtool -K ${device.name} ${FEATURE} off`;
  const features = await host.run('ethtool', ['-k', device.name]);
  if (features === undefined) {
    const detail = `${culprit} may spoil those of packets in VXLAN, and ethtool does not tell whether it has to make them`;
    return [unknown('checksums', detail, `install ethtool; then "${remedy}" keeps them right`)];
  }
  if (new RegExp(`^\\s*${FEATURE}: off`, 'm').test(features)) {
    return [ok('checksums', `${culprit} may spoil them, and ${device.name} leaves none to it`)];
  }
  return [warn('checksums', `${culprit} may spoil those of packets in VXLAN, which are then lost`, remedy)];
}

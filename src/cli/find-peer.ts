import { quote, RudderError } from '../core/errors.js';
import { nameOf, type PeerStatus, type Status } from '../ops/status.js';

/**
 * The peer that is meant by a name, its address, its subnet, or an address inside that.
 * @throws RudderError `usage` if none is, or several are
 */
export function findPeer({ peers }: Status, text: string): PeerStatus {
  const wanted = text.toLowerCase();
  const isMeant = ({ host, subnet, nextHop }: PeerStatus) =>
    host?.toLowerCase() === wanted || nextHop === wanted || subnet === wanted || subnet.split('/')[0] === wanted;
  const found = peers.filter(isMeant);
  if (found.length === 1) return found[0];
  const some = peers.slice(0, 5).map(nameOf).join(', ');
  if (found.length === 0) {
    throw new RudderError(
      'usage',
      `${quote(text)} is no peer of this node: expected a name, an address or a subnet of "rudder peers"${some && `, such as ${some}`}`,
    );
  }
  throw new RudderError(
    'usage',
    `${quote(text)} is the name of several nodes: expected an address instead, one of ${found.map(({ nextHop }) => nextHop).join(', ')}`,
  );
}

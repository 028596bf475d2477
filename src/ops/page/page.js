// The live page: asks /status once a second and shows it. No build step, no library; texts only ever enter as text.
const INTERVAL_MS = 1000;
/** Samples kept for the curves: three minutes. */
const HISTORY = 180;
/** A network of more subnets is shown without its free ones. */
const MOST_SQUARES = 4096;
const CURVE = { width: 180, height: 22 };

const byId = (id) => document.getElementById(id);
/** Subnet -> what is kept of a peer: its row, its square, bytes at the last look, rates of the last minutes. */
const peers = new Map();
let before;

async function look() {
  try {
    const response = await fetch('status', { cache: 'no-store' });
    const status = await response.json();
    if (status.starting === undefined) show(status);
    else setState(`starting: ${status.starting}`, true);
  } catch {
    setState('the daemon does not answer', true);
  }
  setTimeout(look, INTERVAL_MS);
}

function show(status) {
  const now = performance.now();
  const seconds = before === undefined ? 0 : (now - before) / 1000;
  before = now;
  const ready = status.problems.length === 0;
  setState(ready ? 'ready' : status.problems.join('; '), !ready);
  byId('title').textContent = `${status.node.name ?? status.node.subnet} at ${status.node.publicIp}`;
  showFacts(status);
  showPeers(status, seconds);
  showMap(status);
  showDrops(status);
}

function setState(text, isBad) {
  byId('state').textContent = text;
  byId('state').className = isBad ? 'bad' : '';
}

function showFacts({ node, lease, device, registry, offloads, backend, packetPath, uptimeSeconds, version }) {
  const off = Object.keys(offloads).filter((name) => offloads[name] === 'off');
  fill(byId('facts'), [
    ['network', node.network],
    ['lease', lease.remainingSeconds === null ? 'reserved' : `${duration(lease.remainingSeconds)} left`],
    ['device', `${device.name}, MTU ${device.mtu}, ${device.up ? 'up' : 'down or gone'}`],
    packetPath === null
      ? ['carried', `by the kernel, ${backend.type}${entriesOf(backend.kernel)}`]
      : ['offloads', off.length === 0 ? 'all on' : `off: ${off.join(', ')}`],
    [
      registry.kind,
      `${registry.current ? 'watched' : 'not reached'}, ${registry.lastContactSeconds === null ? 'no word since the start' : `last word ${duration(registry.lastContactSeconds)} ago`}`,
    ],
    ['daemon', `${version}, up for ${duration(uptimeSeconds)}`],
  ]);
}

/** What the kernel was told for the peers. */
function entriesOf(kernel) {
  return kernel === null ? '' : `: ${kernel.present} of ${kernel.wanted} entries for the peers`;
}

function showPeers(status, seconds) {
  const present = new Set(status.peers.map(({ subnet }) => subnet));
  for (const [subnet, peer] of peers) {
    if (present.has(subnet)) continue;
    peer.row.remove();
    peers.delete(subnet);
  }
  const sorted = [...status.peers].sort((a, b) => numberOf(a.subnet) - numberOf(b.subnet));
  for (const [index, data] of sorted.entries()) showPeer(data, seconds, index);
  byId('count').textContent = String(status.peers.length);
}

function showPeer({ host, subnet, nextHop, outBytes, inBytes, health, reserved }, seconds, index) {
  let peer = peers.get(subnet);
  if (peer === undefined) {
    peer = { ...createRow(subnet), outBytes, inBytes, rates: [] };
    peers.set(subnet, peer);
  }
  const body = byId('peers');
  if (body.children[index] !== peer.row) body.insertBefore(peer.row, body.children[index] ?? null);
  const rate = (now, last) => (seconds > 0 && now !== null ? Math.max(0, now - last) / seconds : 0);
  const [out, inward] = [rate(outBytes, peer.outBytes), rate(inBytes, peer.inBytes)];
  Object.assign(peer, { outBytes, inBytes });
  peer.rates.push(out + inward);
  if (peer.rates.length > HISTORY) peer.rates.shift();
  // The kernel moves the packets of other backends than udp, and does not count them by peer.
  const isCounted = outBytes !== null;
  const never = isCounted ? 'never' : '';
  const { state, lastHeardSeconds } = health;
  const last = lastHeardSeconds === null ? (reserved ? 'reserved' : never) : `${duration(lastHeardSeconds)} ago`;
  const heard = state === 'silent' || state === 'unreachable' ? `${state}, ${last}` : last;
  [
    subnet,
    host === null ? nextHop : `${host}, ${nextHop}`,
    isCounted ? bits(out) : '',
    isCounted ? bits(inward) : '',
    heard,
  ].forEach((text, i) => {
    if (peer.cells[i].textContent !== text) peer.cells[i].textContent = text;
  });
  peer.curve.setAttribute('points', pointsOf(peer.rates));
}

function createRow(subnet) {
  const row = document.createElement('tr');
  row.dataset.subnet = subnet;
  const cells = Array.from({ length: 6 }, () => row.appendChild(document.createElement('td')));
  const svg = cells[5].appendChild(document.createElementNS('http://www.w3.org/2000/svg', 'svg'));
  const curve = svg.appendChild(document.createElementNS('http://www.w3.org/2000/svg', 'polyline'));
  return { row, cells, curve };
}

function pointsOf(rates) {
  const most = Math.max(1, ...rates);
  const x = (i) => CURVE.width - (rates.length - 1 - i) * (CURVE.width / HISTORY);
  const y = (rate) => CURVE.height - 1 - (rate / most) * (CURVE.height - 2);
  return rates.map((rate, i) => `${x(i).toFixed(1)},${y(rate).toFixed(1)}`).join(' ');
}

/** Every subnet of the network in order; of a very large network only those that are leased. */
function showMap({ node, peers: list }) {
  const [own, network] = [parse(node.subnet), parse(node.network)];
  const size = 2 ** (32 - own.length);
  const count = 2 ** (own.length - network.length);
  const owners = new Map(list.map((peer) => [parse(peer.subnet).address, peer]));
  const all = count <= MOST_SQUARES;
  const addresses = all
    ? Array.from({ length: count }, (_, i) => network.address + i * size)
    : [own.address, ...owners.keys()].sort((a, b) => a - b);
  const map = byId('map');
  while (map.children.length > addresses.length) map.lastChild.remove();
  while (map.children.length < addresses.length) map.appendChild(document.createElement('i'));
  addresses.forEach((address, i) => {
    const peer = owners.get(address);
    const busy = peer !== undefined && (peers.get(peer.subnet)?.rates.at(-1) ?? 0) > 0;
    const kind = address === own.address ? 'own' : peer === undefined ? '' : busy ? 'peer busy' : 'peer';
    const owner = kind === 'own' ? 'this node' : peer === undefined ? 'free' : (peer.host ?? peer.nextHop);
    const square = map.children[i];
    const title = `${format(address)}/${own.length}: ${owner}`;
    if (square.className !== kind) square.className = kind;
    if (square.title !== title) square.title = title;
  });
}

function showDrops({ packetPath, firewall }) {
  const counters = packetPath === null ? {} : packetPath.counters;
  const drops = Object.entries(counters).filter(([name, count]) => name.includes('_drop_') && count > 0);
  const rows = drops.map(([name, count]) => [name.replace('_drop_', ': ').replaceAll('_', ' '), String(count)]);
  const strangers = firewall.forwarding === null ? 0 : firewall.forwarding.strangers;
  if (strangers > 0) rows.push(["strangers' datagrams", String(strangers)]);
  const none = packetPath === null ? 'the kernel does not tell' : 'none';
  fill(byId('drops'), rows.length > 0 ? rows : [[none, '']]);
}

/** Sets the rows of a definition list, touching only what differs. */
function fill(list, rows) {
  while (list.children.length > 2 * rows.length) list.lastChild.remove();
  while (list.children.length < 2 * rows.length) {
    list.appendChild(document.createElement(list.children.length % 2 === 0 ? 'dt' : 'dd'));
  }
  rows.flat().forEach((text, i) => {
    if (list.children[i].textContent !== text) list.children[i].textContent = text;
  });
}

function parse(subnet) {
  const [address, length] = subnet.split('/');
  return { address: address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0), length: Number(length) };
}

const numberOf = (subnet) => parse(subnet).address;
const format = (address) => [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');

function bits(bytesPerSecond) {
  const units = ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s'];
  let value = bytesPerSecond * 8;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${value.toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86_400).toFixed(1)} d`;
}

void look();

// How numbers and states are said to people.

export const bits = (bytesPerSecond) =>
  bytesPerSecond === null || bytesPerSecond === undefined ? '' : bitRate(bytesPerSecond * 8);

export const bitRate = (bitsPerSecond) => scaled(bitsPerSecond, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s']);

/** Where nothing is counted no number stands; why, is said once. */
export const UNCOUNTED = {
  counted: '',
  'tunnel-only': 'of nodes that are reached directly no traffic is shown: the kernel moves it, and does not count it',
  'not-counted': 'no traffic is shown: the kernel moves the packets, and does not count them by node',
};

export const DROPS_UNKNOWN = 'not known: the kernel moves the packets, and tells of none that it drops';

function scaled(value, units) {
  let unit = 0;
  let rest = value;
  for (; rest >= 1000 && unit < units.length - 1; unit++) rest /= 1000;
  return `${digits(rest)} ${units[unit]}`;
}

/** Two digits that count at least: what stands along an axis, in steps of 1, 2 or 5, is never rounded. */
export function digits(value) {
  if (value === 0 || value >= 10) return value.toFixed(0);
  return value.toFixed(value < 1 ? 2 : 1);
}

export function milliseconds(value) {
  if (value === null || value === undefined) return '';
  if (value === 0 || value >= 10) return `${value.toFixed(0)} ms`;
  return `${value.toFixed(value < 0.1 ? 3 : 2)} ms`;
}

export function duration(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86_400).toFixed(1)} d`;
}

export const ago = (seconds) => (seconds === null || seconds === undefined ? '' : `${duration(seconds)} ago`);

export const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** What each state is called (`short` where there is little room), how it is drawn, and how near the top it stands. */
export const STATES = {
  silent: { word: 'silent', mark: 'bad', rank: 0 },
  unreachable: { word: 'unreachable', mark: 'bad', rank: 0 },
  'not-ready': { word: 'not ready', mark: 'bad', rank: 0 },
  'no-answer': { word: 'does not answer', short: 'no answer', mark: 'bad', rank: 1 },
  'other-backend': { word: 'another backend', short: 'not a peer', mark: 'warn', rank: 2 },
  lost: { word: 'lost', mark: 'lost', rank: 3 },
  unknown: { word: 'not known yet', short: 'not known', mark: 'idle', rank: 4 },
  reserved: { word: 'reserved', mark: 'idle', rank: 5 },
  ok: { word: 'ok', mark: 'ok', rank: 6 },
};

export const stateOf = ({ state }) => STATES[state] ?? { word: state, mark: 'idle', rank: 4 };

/** A node as people know it. */
export const nameOf = ({ host, subnet }) => host ?? subnet;

/** What stands behind `#/node/`. Names may be given twice, subnets are not; who is lost may have had that of another. */
export const keyOf = ({ subnet, lostSeconds }) => (lostSeconds === null ? subnet : `lost ${subnet}`);
export const hrefOf = (node) => `#/node/${encodeURIComponent(keyOf(node))}`;

/** Names without the domain that all of them share, as far as they differ without it. */
export function shortNames(nodes) {
  const all = nodes.map(nameOf);
  const first = all.map((name, i) => (nodes[i].host === null ? name : name.split('.')[0]));
  return new Set(first).size === all.length ? first : all;
}

/** The end of a name tells nodes apart more often than its beginning. */
export const cut = (text, most) => (text.length <= most ? text : `…${text.slice(text.length - most + 1)}`);

export function matches(search, ...values) {
  const wanted = search.trim().toLowerCase();
  return wanted === '' || values.some((value) => value?.toString().toLowerCase().includes(wanted));
}

/** Of a counter such as `in_drop_no_route`. */
export const dropName = (counter) =>
  `${counter.startsWith('in_') ? 'coming in' : 'going out'}: ${counter.replace(/^(in|out)_drop_/, '').replaceAll('_', ' ')}`;

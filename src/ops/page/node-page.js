// The page of one node: what it says of itself, what has flowed, how the others see it, what has happened to it.
import { createChart, createHistory, createHistoryOf, NODE_CHARTS, PEER_CHARTS, spanOf } from './charts.js';
import { byId, element, keepChildren, setAttribute, setText } from './dom.js';
import { showEvents } from './events.js';
import {
  ago,
  bits,
  counted,
  DROPS_UNKNOWN,
  digits,
  dropName,
  duration,
  hrefOf,
  keyOf,
  matches,
  milliseconds,
  nameOf,
  stateOf,
} from './words.js';

let open;
const charts = new Map();

/** Made once: they listen to the size of the window and to its colours. */
function chartsFor(kind) {
  if (!charts.has(kind)) charts.set(kind, kind.map(createChart));
  return charts.get(kind);
}

/** @returns the histories to ask for while it is shown: of the node itself, and between it and the one that serves the page */
export function openNodePage(key, overview) {
  const node = overview.nodes.find((each) => keyOf(each) === key);
  const isOwn = node !== undefined && node === overview.nodes[0];
  open = { key, isOwn, rows: new Map(), kept: new Map(), facts: new Map(), drops: new Map() };
  const root = byId('node');
  root.replaceChildren();
  if (node === undefined) {
    root.append(
      panel(
        'head',
        'No such node',
        element('p', {
          text: 'No node of this cluster has that name or subnet, and none has left within the last hour.',
        }),
        home(),
      ),
    );
    return [];
  }
  const name = nameOf(node);
  const own = nameOf(overview.nodes[0]);
  open.state = element('p', { class: 'verdict' });
  open.list = element('dl', { class: 'facts' });
  open.charts = chartsFor(NODE_CHARTS);
  open.between = isOwn ? undefined : chartsFor(PEER_CHARTS);
  open.span = element('p', { class: 'note' });
  open.body = element('tbody');
  open.linkNote = element('p', { class: 'note' });
  open.events = element('ol', { class: 'list' });
  open.dropList = element('dl', { class: 'facts' });
  const head = [
    ['Other node'],
    ['State'],
    ['Round trip', 'number'],
    ['Sends', 'number traffic'],
    ['Receives', 'number traffic'],
  ];
  const table = element(
    'table',
    {},
    element(
      'thead',
      {},
      element('tr', {}, ...head.map(([text, kind]) => element('th', { scope: 'col', text, class: kind }))),
    ),
    open.body,
  );
  root.append(
    panel('head', name, home(), open.state, open.list),
    panel(
      'history',
      'The last hours',
      open.span,
      element('div', { class: 'charts' }, ...open.charts.map(({ figure }) => figure)),
      ...(isOwn ? [element('h3', { text: 'Dropped packets, by reason' }), open.dropList] : []),
    ),
    ...(isOwn
      ? []
      : [
          panel(
            'between',
            `Between ${own} and ${name}`,
            element('div', { class: 'charts' }, ...open.between.map(({ figure }) => figure)),
          ),
        ]),
    panel('nodes', `The ways from ${name} to the others`, element('div', { class: 'scroll' }, table), open.linkNote),
    panel('events', 'Events', open.events),
  );
  return isOwn ? [createHistory()] : [createHistoryOf(node.subnet), createHistory(node.subnet)];
}

const home = () => element('p', { class: 'back' }, element('a', { href: '#/', text: 'All nodes' }));

function panel(kind, title, ...children) {
  const id = `node-${kind}`;
  return element(
    'section',
    { class: `panel ${kind}`, 'aria-labelledby': id },
    element('h2', { id, text: title }),
    ...children,
  );
}

/** @param status of the node that serves the page; undefined: it is not known yet */
export function showNodePage(overview, status, [history, between] = [], search = '') {
  const node = overview.nodes.find((each) => keyOf(each) === open.key);
  if (node === undefined || open.list === undefined) return;
  const { word, mark } = stateOf(node);
  setAttribute(open.state, 'class', `verdict ${mark}`);
  setText(open.state, node.detail === null ? word : `${word}: ${node.detail}`);
  const facts = open.isOwn && status !== undefined ? ownFacts(status) : factsOf(node);
  showFacts(open.list, open.facts, facts);
  if (history !== undefined) {
    for (const chart of open.charts) chart.show(history.known, overview);
    for (const chart of open.between ?? []) chart.show(between.known, overview);
    const nothing = open.isOwn ? '' : 'The node has not told what it remembers.';
    setText(open.span, spanOf(history.known) || nothing);
    byId('node').classList.toggle('untold', history.known.length === 0);
    if (open.isOwn) showFacts(open.dropList, open.drops, dropFacts(history.known, status));
  }
  showLinks(node, overview, search);
  const concerns = ({ subject, fields }) =>
    open.isOwn || [subject, fields.host].includes(nameOf(node)) || fields.subnet === node.subnet;
  showEvents(open.events, open.kept, search, concerns);
}

function showFacts(list, known, facts) {
  const shown = facts.filter(([, text]) => text !== null && text !== undefined && text !== '');
  keepChildren(
    list,
    known,
    shown,
    ([name]) => name,
    ([name]) => element('div', {}, element('dt', { text: name }), element('dd')),
    (row, [, text]) => setText(row.lastChild, text),
  );
}

function factsOf(node) {
  const { about } = node;
  return [
    ['Subnet', node.subnet],
    ['Host address', node.address],
    ['Version', node.version ?? 'it does not say, as flannel does not'],
    ['Lost', node.lostSeconds === null ? null : ago(node.lostSeconds)],
    ['Last heard', ago(node.heardSeconds)],
    ['Round trip', milliseconds(node.rttMs)],
    ...(about === null
      ? [
          [
            'Asked',
            node.lostSeconds === null
              ? `not asked, or without an answer${node.notAsked === null ? ' yet' : `: ${node.notAsked}`}`
              : null,
          ],
        ]
      : [
          ['Backend', `${about.backend}, MTU ${about.mtu}`],
          [
            'Lease',
            about.leaseSeconds === null ? 'reserved, it never runs out' : `${duration(about.leaseSeconds)} left`,
          ],
          ['Network config', about.config],
          ['Firewall', about.firewallProblem ?? 'no problem'],
          ['Daemon', `up for ${duration(about.uptimeSeconds)}`],
          ['Warnings', about.warnings.join('; ')],
        ]),
  ];
}

function ownFacts({
  node,
  lease,
  device,
  registry,
  config,
  firewall,
  backend,
  offloads,
  packetPath,
  uptimeSeconds,
  version,
  warnings,
}) {
  const off = Object.keys(offloads).filter((name) => offloads[name] === 'off');
  const left =
    lease.remainingSeconds === null ? 'reserved, it never runs out' : `${duration(lease.remainingSeconds)} left`;
  const word =
    registry.lastContactSeconds === null ? 'no word since the start' : `last word ${ago(registry.lastContactSeconds)}`;
  const kernel =
    backend.kernel === null ? '' : `: ${backend.kernel.present} of ${backend.kernel.wanted} entries for the peers`;
  const direct = backend.direct === null ? '' : `, ${counted(backend.direct, 'node')} reached directly`;
  return [
    ['Subnet', `${node.subnet} of ${node.network}`],
    ['Host address', `${node.publicIp} on ${node.interface}`],
    ['Version', version],
    ['Daemon', `up for ${duration(uptimeSeconds)}`],
    ['Backend', packetPath === null ? `${backend.type}, carried by the kernel${kernel}` : `${backend.type}${direct}`],
    [
      'Device',
      `${device.name}, MTU ${device.mtu}, ${device.up ? 'up' : 'down or gone'}${device.repairs > 0 ? `, put right ${counted(device.repairs, 'time')}` : ''}`,
    ],
    [
      'Lease',
      `${left}${lease.key === 'written' ? '' : `, its key is ${lease.key}`}${lease.problem === null ? '' : `: ${lease.problem}`}`,
    ],
    [registry.kind, `${registry.current ? 'watched' : 'not reached'}, ${word}`],
    ['Network config', config.detail === null ? config.state : `${config.state}: ${config.detail}`],
    ['Firewall', firewallText(firewall)],
    ['Offloads', packetPath === null ? null : off.length === 0 ? 'all on' : `off: ${off.join(', ')}`],
    ['Warnings', warnings.join('; ')],
  ];
}

const PASSAGES = {
  unknown: 'too few to tell',
  passes: 'they pass',
  dropped: 'they are dropped',
  translated: 'they are translated',
};

function firewallText({ kept, settings, problem, repairs, forwarding }) {
  if (problem !== null) return problem;
  if (!kept || settings === null) return 'left alone';
  return `rules kept${repairs > 0 ? `, put right ${counted(repairs, 'time')}` : ''}${forwarding === null ? '' : passageText(forwarding)}`;
}

function passageText({ out, in: inward }) {
  const words = out === inward ? PASSAGES[out] : `going out ${PASSAGES[out]}, coming in ${PASSAGES[inward]}`;
  return `; packets of containers: ${words}`;
}

function dropFacts({ drops, step }, status) {
  const rows = Object.entries(drops).map(([name, values]) => {
    const total = values.reduce((all, value) => all + (value ?? 0) * step, 0);
    return [
      dropName(name),
      `${digits(values.at(-1) ?? 0)}/s now, ${Math.round(total)} in ${duration(values.length * step)}`,
    ];
  });
  if (rows.length > 0) return rows;
  if (status === undefined) return [];
  return status.packetPath === null
    ? [['All reasons', DROPS_UNKNOWN]]
    : [['All reasons', 'none since the daemon was started']];
}

const MOST_LINKS = 60;

function showLinks(node, { nodes, links, linksLeftOut }, search) {
  const index = nodes.indexOf(node);
  const own = links.filter(({ a, b }) => a === index || b === index);
  const rows = own
    .map((link) => ({ link, other: nodes[link.a === index ? link.b : link.a] }))
    .filter(({ other }) => matches(search, other.host, other.subnet));
  const rank = ({ link }) => ['failed', 'unknown', 'ok'].indexOf(link.state);
  rows.sort((a, b) => rank(a) - rank(b) || flow(b.link) - flow(a.link));
  keepChildren(
    open.body,
    open.rows,
    rows.slice(0, MOST_LINKS),
    ({ other }) => keyOf(other),
    createLink,
    (row, each) => updateLink(row, each, index),
  );
  const counts = `Ways that work: ${node.linksOk}; that do not: ${node.linksFailed}`;
  setText(
    open.linkNote,
    linksLeftOut > 0 ? `${counts}. Those that work and are quiet are not listed: there are too many.` : counts,
  );
}

const flow = ({ aToB, bToA }) => (aToB ?? 0) + (bToA ?? 0);

function createLink({ other }) {
  const name = element('th', { scope: 'row' }, element('a', { href: hrefOf(other), text: nameOf(other) }));
  const state = element('td', {}, element('span', { class: 'word' }), element('span', { class: 'detail' }));
  const classes = ['number', 'number traffic', 'number traffic'];
  return element('tr', {}, name, state, ...classes.map((each) => element('td', { class: each })));
}

const LINK_STATES = { ok: ['works', 'ok'], failed: ['broken', 'bad'], unknown: ['not known', 'idle'] };

function updateLink(row, { link }, index) {
  const [word, mark] = LINK_STATES[link.state];
  const [, state, rtt, out, inward] = row.children;
  const [sends, receives] = link.a === index ? [link.aToB, link.bToA] : [link.bToA, link.aToB];
  setAttribute(row, 'class', mark);
  setText(state.firstChild, word);
  setText(state.lastChild, link.state === 'ok' ? '' : ` ${link.detail}`);
  setText(rtt, milliseconds(link.rttMs));
  setText(out, bits(sends));
  setText(inward, bits(receives));
}

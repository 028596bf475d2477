// The map: nodes at their places (layout.js). Lines are pairs of nodes that talk, or that should and cannot.
import { byId, element, setAttribute, setText, svg } from './dom.js';
import { isNarrow, layoutOf } from './layout.js';
import { isNews } from './problems.js';
import { bits, hrefOf, keyOf, matches, milliseconds, nameOf, shortNames, stateOf } from './words.js';

/** So few have what flows written at their lines. */
const MOST_WITH_LABELS = 8;
const BUSY = 4000;

/** Key -> what is drawn of it. */
const drawnNodes = new Map();
const drawnLinks = new Map();
let parts;
let layout = { signature: '' };
/** Grows with each layout: what is drawn by an earlier one is drawn anew. */
let layoutNumber = 0;
/** Told when it changes, since asking for it has the browser lay out all that has changed so far. */
let width = 0;
let last;
let focused;

export function setUpMap() {
  const root = svg('svg', { role: 'group', 'aria-label': 'Map of the nodes; arrow keys go from one to the next' });
  parts = { root, links: svg('g'), labels: svg('g', { 'aria-hidden': 'true' }), nodes: svg('g') };
  root.append(parts.links, parts.labels, parts.nodes);
  byId('map').append(root);
  new ResizeObserver(([{ contentRect }]) => {
    width = Math.round(contentRect.width);
    if (last !== undefined) showMap(last.overview, last.search);
  }).observe(byId('map'));
  root.addEventListener('keydown', move);
  root.addEventListener('focusin', ({ target }) => show(target.closest('.node')));
  root.addEventListener('focusout', () => show(null));
  root.addEventListener('mouseover', ({ target }) => show(target.closest('.node')));
  root.addEventListener('mouseleave', () => show(null));
}

export function showMap(overview, search) {
  last = { overview, search };
  const { nodes, links } = overview;
  if (width === 0) return; // not shown yet
  place(nodes);
  drawNodes(nodes, search);
  drawLinks(nodes, links);
}

// --- places ---

function place(nodes) {
  const signature = `${width} ${window.innerHeight} ${nodes.map((node) => `${keyOf(node)} ${nameOf(node)}`).join()}`;
  if (signature === layout.signature) return;
  layoutNumber++;
  layout = { ...layoutOf(shortNames(nodes), width, window.innerHeight), signature };
  parts.root.setAttribute('viewBox', `0 0 ${width} ${layout.height}`);
  parts.root.setAttribute('width', String(width));
  parts.root.setAttribute('height', String(layout.height));
}

// --- nodes ---

function drawNodes(nodes, search) {
  const present = new Set(nodes.map(keyOf));
  for (const [key, drawn] of drawnNodes) {
    if (present.has(key)) continue;
    drawn.root.remove();
    drawnNodes.delete(key);
  }
  parts.root.classList.toggle('field', !layout.below);
  nodes.forEach((node, i) => {
    const key = keyOf(node);
    const drawn = drawnNodes.get(key) ?? createNode(key);
    if (parts.nodes.children[i] !== drawn.root) parts.nodes.insertBefore(drawn.root, parts.nodes.children[i] ?? null);
    drawNode(drawn, node, i, search);
  });
  const first = drawnNodes.has(focused) ? focused : nodes.length > 0 ? keyOf(nodes[0]) : undefined;
  for (const [key, { root }] of drawnNodes) setAttribute(root, 'tabindex', key === first ? '0' : '-1');
}

function createNode(key) {
  const drawn = {
    root: svg('a', {}),
    mark: svg('path'),
    name: svg('text', { class: 'name' }),
    more: svg('text', { class: 'more' }),
  };
  drawn.root.dataset.key = key;
  drawn.root.append(drawn.mark, drawn.name, ' ', drawn.more);
  drawnNodes.set(key, drawn);
  return drawn;
}

function drawNode(drawn, node, i, search) {
  const { word, mark: kind } = stateOf(node);
  const isFound = matches(search, node.host, node.subnet, node.address, node.version, word);
  const second = layout.below ? moreOf(node, i) : '';
  const picture = `${layoutNumber} ${i} ${word} ${isFound} ${second}`;
  if (picture === drawn.picture) return;
  drawn.picture = picture;
  const { root, mark, name, more } = drawn;
  const { x, y, label, side } = layout.places[i];
  setAttribute(root, 'href', hrefOf(node));
  setAttribute(root, 'class', `node ${kind}${i === 0 ? ' own' : ''}${isFound ? '' : ' dim'}`);
  setAttribute(root, 'transform', `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
  setAttribute(mark, 'd', shapeOf(kind, layout.radius));
  setAttribute(name, 'text-anchor', side);
  setAttribute(name, 'x', label.x);
  setAttribute(name, 'y', label.y);
  setText(name, layout.names[i]);
  setAttribute(more, 'text-anchor', side);
  setAttribute(more, 'x', label.x);
  setAttribute(more, 'y', label.y + 17);
  setText(more, second);
  setAttribute(root, 'aria-label', labelFor(node, layout.names[i], second));
}

/** What is to be read there comes first, since people say that to choose it; then what it stands for. */
function labelFor(node, name, second) {
  const whole = name === nameOf(node) || name === '' ? '' : ` (${nameOf(node)})`;
  return `${[name || nameOf(node), second].filter(Boolean).join(' ')}${whole}: ${stateOf(node).word}`;
}

/** Seen without colour too: who has a problem is a diamond. */
function shapeOf(kind, r) {
  if (kind !== 'bad' && kind !== 'warn') return `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
  const d = r * 1.3;
  return `M0 ${-d}L${d} 0 0 ${d} ${-d} 0z`;
}

function moreOf(node, i) {
  const { word, short = word } = stateOf(node);
  if (node.state !== 'ok') return isNarrow(width) ? short : word;
  if (i === 0) return 'this node';
  return isNarrow(width) ? '' : milliseconds(node.rttMs);
}

// --- links ---

const traffic = ({ aToB, bToA }) => (aToB ?? 0) + (bToA ?? 0);

function drawLinks(nodes, links) {
  const present = new Set();
  const hasLabels = layout.below && nodes.length <= MOST_WITH_LABELS;
  for (const link of links) {
    const key = `${nodes[link.a].subnet} ${nodes[link.b].subnet}`;
    present.add(key);
    const drawn = drawnLinks.get(key) ?? createLink(key);
    const kind = classOf(link);
    const text = hasLabels ? labelOf(link) : '';
    const picture = `${layoutNumber} ${kind} ${text}`;
    if (picture === drawn.picture) continue;
    drawn.picture = picture;
    setAttribute(drawn.line, 'd', curve(layout.places[link.a], layout.places[link.b]));
    setAttribute(drawn.line, 'class', kind);
    drawn.ends = [keyOf(nodes[link.a]), keyOf(nodes[link.b])];
    drawLabel(drawn, link, text);
  }
  for (const [key, { line, label }] of drawnLinks) {
    if (present.has(key)) continue;
    line.remove();
    label?.remove();
    drawnLinks.delete(key);
  }
}

function createLink(key) {
  const drawn = { line: svg('path'), label: undefined, ends: [] };
  parts.links.append(drawn.line);
  drawnLinks.set(key, drawn);
  return drawn;
}

/** In five widths, so that a line is not touched at each change of what flows. */
function classOf(link) {
  if (link.state === 'failed') return isNews(link, last.overview.nodes) ? 'link failed' : 'link gone';
  if (link.state === 'unknown') return 'link unknown';
  const flow = traffic(link);
  if (flow < BUSY) return 'link';
  return `link busy w${Math.min(5, 1 + Math.floor(Math.log10(flow / BUSY)))}`;
}

/** In a ring lines bend to its middle, in a field a little to one side, so that they do not cover what lies between. */
function curve(from, to) {
  const { x, y } = bend(from, to);
  return `M${from.x.toFixed(1)} ${from.y.toFixed(1)}Q${x.toFixed(1)} ${y.toFixed(1)} ${to.x.toFixed(1)} ${to.y.toFixed(1)}`;
}

function bend(from, to) {
  const middle = { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 };
  if (layout.center !== undefined) {
    const pull = layout.places.length <= 3 ? 0.06 : 0.3;
    return { x: middle.x + (layout.center.x - middle.x) * pull, y: middle.y + (layout.center.y - middle.y) * pull };
  }
  return { x: middle.x + (to.y - from.y) * 0.12, y: middle.y - (to.x - from.x) * 0.12 };
}

function drawLabel(drawn, link, text) {
  if (text === '') {
    drawn.label?.remove();
    drawn.label = undefined;
    return;
  }
  if (drawn.label === undefined) {
    drawn.label = svg('text', { 'text-anchor': 'middle' });
    parts.labels.append(drawn.label);
  }
  const [from, to] = [layout.places[link.a], layout.places[link.b]];
  const { x, y } = bend(from, to);
  setAttribute(drawn.label, 'class', `flow ${link.state}`);
  setAttribute(drawn.label, 'x', ((from.x + to.x) / 4 + x / 2).toFixed(1));
  setAttribute(drawn.label, 'y', ((from.y + to.y) / 4 + y / 2 + 4).toFixed(1));
  setText(drawn.label, text);
}

function labelOf(link) {
  if (link.state === 'failed') return isNews(link, last.overview.nodes) ? 'no packets' : '';
  if (link.state === 'unknown') return '';
  return traffic(link) >= BUSY ? bits(traffic(link)) : '';
}

// --- who is looked at ---

function show(target) {
  const key = target?.dataset.key;
  for (const { line, ends } of drawnLinks.values())
    line.classList.toggle('hot', key !== undefined && ends.includes(key));
  parts.root.classList.toggle('looking', key !== undefined);
  const node = last?.overview.nodes.find((each) => keyOf(each) === key);
  const tip = byId('tip');
  tip.hidden = node === undefined;
  if (node === undefined) return;
  const lines = [
    `${stateOf(node).word}${node.detail === null ? '' : `: ${node.detail}`}`,
    node.out === null ? '' : `sends ${bits(node.out)}, receives ${bits(node.in)}`,
    node.rttMs === null ? '' : `round trip ${milliseconds(node.rttMs)}`,
    `${node.subnet} at ${node.address}${node.version === null ? '' : `, version ${node.version}`}`,
  ];
  tip.replaceChildren(
    element('strong', { text: nameOf(node) }),
    ...lines.filter(Boolean).map((text) => element('span', { text })),
  );
  const box = target.firstChild.getBoundingClientRect();
  const left = Math.min(
    Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2),
    window.innerWidth - tip.offsetWidth - 8,
  );
  const isAbove = box.top > tip.offsetHeight + 16;
  tip.style.left = `${left}px`;
  tip.style.top = `${isAbove ? box.top - tip.offsetHeight - 10 : box.bottom + 10}px`;
}

/** One stop for the tab key, and the arrows from there. */
function move(event) {
  const { nodes } = last.overview;
  const index = nodes.findIndex((node) => keyOf(node) === event.target.closest('.node')?.dataset.key);
  const down = layout.columns ?? 1;
  const steps = {
    ArrowRight: 1,
    ArrowLeft: -1,
    ArrowDown: down,
    ArrowUp: -down,
    Home: -index,
    End: nodes.length - 1 - index,
  };
  if (index === -1 || !(event.key in steps)) return;
  event.preventDefault();
  const next = index + steps[event.key];
  const place =
    layout.columns === undefined ? (next + nodes.length) % nodes.length : Math.min(Math.max(next, 0), nodes.length - 1);
  focused = keyOf(nodes[place]);
  for (const [key, { root }] of drawnNodes) setAttribute(root, 'tabindex', key === focused ? '0' : '-1');
  drawnNodes.get(focused).root.focus();
}

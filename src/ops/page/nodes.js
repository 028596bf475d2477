// The list of nodes: filtered, searched, ordered; so many rows at first, and all if asked for.
import { byId, element, keepChildren, setAttribute, setText } from './dom.js';
import { isNews } from './problems.js';
import { ago, bits, counted, hrefOf, keyOf, matches, milliseconds, nameOf, stateOf } from './words.js';

const FIRST_ROWS = matchMedia('(max-width: 700px)').matches ? 20 : 50;

const FILTERS = {
  all: { word: 'all', keeps: () => true },
  problems: { word: 'problems', keeps: (node) => ['bad', 'warn'].includes(stateOf(node).mark) || apart.has(node) },
  lost: { word: 'lost', keeps: ({ lostSeconds }) => lostSeconds !== null },
  talking: { word: 'talking', keeps: (node) => trafficOf(node) >= 4000 },
};
const trafficOf = (node) => (node.out ?? 0) + (node.in ?? 0);

const ORDERS = {
  problems: (a, b) => stateOf(a).rank - stateOf(b).rank || Number(apart.has(b)) - Number(apart.has(a)),
  name: () => 0,
  traffic: (a, b) => trafficOf(b) - trafficOf(a),
  rtt: (a, b) => (b.rttMs ?? -1) - (a.rttMs ?? -1),
};

const rows = new Map();
const buttons = new Map();
/** Node -> names of those that are well and yet exchange no packets with it. */
let apart = new Map();
let filter = 'all';
let showsAll = false;

/** @param changed called when a person wants another list */
export function setUpNodes(changed) {
  for (const [name, { word }] of Object.entries(FILTERS)) {
    const kind = name === 'talking' ? 'traffic' : undefined;
    const button = element('button', { type: 'button', class: kind, 'aria-pressed': String(name === filter) });
    button.append(element('span', { text: word }), ' ', element('span', { class: 'count' }));
    button.addEventListener('click', () => {
      filter = name;
      for (const [other, one] of buttons) one.setAttribute('aria-pressed', String(other === name));
      changed();
    });
    buttons.set(name, button);
    byId('filters').append(button);
  }
  byId('sort').addEventListener('change', changed);
  byId('more').addEventListener('click', () => {
    showsAll = true;
    changed();
  });
}

export function showNodes({ nodes, links }, search) {
  apart = apartOf(nodes, links);

  for (const [name, button] of buttons) setText(button.lastChild, String(nodes.filter(FILTERS[name].keeps).length));
  const isWanted = (node) =>
    FILTERS[filter].keeps(node) &&
    matches(search, node.host, node.subnet, node.address, node.version, stateOf(node).word, node.about?.backend);
  const wanted = nodes.filter(isWanted).sort(ORDERS[byId('sort').value]);
  const shown = showsAll ? wanted : wanted.slice(0, FIRST_ROWS);
  keepChildren(byId('nodes'), rows, shown, keyOf, createRow, (row, node) => updateRow(row, node, node === nodes[0]));
  setText(byId('nodes-note'), wanted.length === 0 ? 'No node is like that.' : '');
  byId('more').hidden = shown.length === wanted.length;
  setText(byId('more'), `Show all ${counted(wanted.length, 'node')}`);
}

function createRow(node) {
  const name = element(
    'th',
    { scope: 'row' },
    element('a', { href: hrefOf(node), title: nameOf(node), text: nameOf(node) }),
    element('span'),
  );
  const state = element('td', {}, element('span', { class: 'word' }), element('span', { class: 'detail' }));
  const classes = ['number', 'number traffic', 'number traffic', 'number wide', 'wide', 'wide address'];
  return element('tr', {}, name, state, ...classes.map((each) => element('td', { class: each })));
}

function updateRow(row, node, isOwn) {
  const [name, state, ...cells] = row.children;
  const { word, mark } = stateOf(node);
  setText(name.lastChild, isOwn ? ' this node' : '');
  setAttribute(row, 'class', mark);
  setText(state.firstChild, word);
  setText(state.lastChild, detailOf(node));
  const heard = node.lostSeconds === null ? node.heardSeconds : node.lostSeconds;
  const texts = [
    milliseconds(node.rttMs),
    bits(node.out),
    bits(node.in),
    isOwn ? '' : ago(heard),
    node.version ?? '',
    node.subnet,
  ];
  for (const [i, cell] of cells.entries()) setText(cell, texts[i]);
}

function apartOf(nodes, links) {
  const found = new Map();
  const add = (node, other) => found.set(node, [...(found.get(node) ?? []), nameOf(other)]);
  for (const link of links) {
    if (!isNews(link, nodes)) continue;
    add(nodes[link.a], nodes[link.b]);
    add(nodes[link.b], nodes[link.a]);
  }
  return found;
}

function detailOf(node) {
  if (node.detail !== null) return ` ${node.detail}`;
  const others = apart.get(node);
  if (others === undefined) return '';
  return ` no packets to or from ${others.length > 3 ? counted(others.length, 'other node') : others.join(', ')}`;
}

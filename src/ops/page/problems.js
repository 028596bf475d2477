// What is wrong, the worst first: nodes, then ways between nodes that are well themselves, then what to look at.
import { byId, element, keepChildren, setAttribute, setText } from './dom.js';
import { ago, counted, hrefOf, keyOf, nameOf, stateOf } from './words.js';

const MOST_SHOWN = 60;
const children = new Map();

export const isBad = (node) => stateOf(node).mark === 'bad';

/** That nothing goes to or from a node that is known to be away is said once, and not for each pair. */
export const isNews = ({ state, a, b }, nodes) => state === 'failed' && !isBad(nodes[a]) && !isBad(nodes[b]);

/** @returns {{key: string, mark: string, nodes: object[], text: string}[]} */
export function problemsOf({ nodes, links }) {
  const bad = nodes.filter(isBad).sort((a, b) => stateOf(a).rank - stateOf(b).rank);
  const broken = links.filter((link) => isNews(link, nodes));
  return [
    ...bad.map((node) => ({ key: keyOf(node), mark: 'bad', nodes: [node], text: textOf(node) })),
    ...broken.map(({ a, b, detail }) => ({
      key: `${nodes[a].subnet} ${nodes[b].subnet}`,
      mark: 'bad',
      nodes: [nodes[a], nodes[b]],
      text: `packets between them do not arrive: ${detail}`,
    })),
    ...nodes
      .filter(({ lostSeconds }) => lostSeconds !== null)
      .map((node) => ({
        key: keyOf(node),
        mark: 'lost',
        nodes: [node],
        text: `left ${ago(node.lostSeconds)}: ${node.detail}`,
      })),
    ...nodes
      .filter(({ state }) => state === 'other-backend')
      .map((node) => ({
        key: keyOf(node),
        mark: 'warn',
        nodes: [node],
        text: 'runs another kind of backend, and is no peer',
      })),
    ...nodes.flatMap((node) =>
      (node.about?.warnings ?? []).map((text) => ({
        key: `${node.subnet} ${text}`,
        mark: 'warn',
        nodes: [node],
        text,
      })),
    ),
  ];
}

function textOf(node) {
  const heard = node.heardSeconds === null ? '' : `, last heard ${ago(node.heardSeconds)}`;
  const why = node.detail === null ? '' : `: ${node.detail}`;
  return `${stateOf(node).word}${node.state === 'not-ready' ? '' : heard}${why}`;
}

export function showProblems(problems) {
  const shown = problems.slice(0, MOST_SHOWN);
  const more = problems.length - shown.length;
  const rows =
    shown.length > 0 ? shown : [{ key: 'none', mark: 'ok', nodes: [], text: 'No problem that anybody knows of.' }];
  if (more > 0) rows.push({ key: 'more', mark: 'bad', nodes: [], text: `and ${more} more` });
  keepChildren(byId('problems'), children, rows, ({ key }) => key, createRow, updateRow);
}

function createRow({ nodes }) {
  const names = nodes.flatMap((node, i) => [
    ...(i === 0 ? [] : [' and ']),
    element('a', { href: hrefOf(node), text: nameOf(node) }),
  ]);
  return element('li', {}, element('span', { class: 'names' }, ...names), element('span', { class: 'text' }));
}

function updateRow(row, { mark, nodes, text }) {
  setAttribute(row, 'class', mark);
  setText(row.lastChild, nodes.length === 0 ? text : ` ${text}`);
}

/** The one line at the top. */
export function verdictOf(problems, nodes) {
  const bad = problems.filter(({ mark }) => mark === 'bad').length;
  if (bad > 0) return { text: counted(bad, 'problem'), mark: 'bad' };
  const present = nodes.filter(({ lostSeconds }) => lostSeconds === null).length;
  const well = present === 1 ? 'the one node is well' : `all ${present} nodes are well`;
  const others = problems.length > 0 ? `, ${counted(problems.length, 'thing')} to look at` : '';
  return { text: `${well}${others}`, mark: problems.length > 0 ? 'warn' : 'ok' };
}

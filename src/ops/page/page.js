// The live page: asks the node that serves it each second, and shows the cluster or one node of it. No build step.
import { createChart, createHistory, NODE_CHARTS, spanOf } from './charts.js';
import { byId, element, setAttribute, setText } from './dom.js';
import { askEvents, showAllEvents } from './events.js';
import { isMany } from './layout.js';
import { setUpMap, showMap } from './map.js';
import { openNodePage, showNodePage } from './node-page.js';
import { setUpNodes, showNodes } from './nodes.js';
import { problemsOf, showProblems, verdictOf } from './problems.js';
import { bits, counted, milliseconds, nameOf, UNCOUNTED } from './words.js';

const INTERVAL_MS = 1000;
/** Of a very large cluster an answer takes longer to make and to show. */
const MS_BY_NODE = 2;
const SLOW_MS = 10_000;

let overview;
let status;
/** What is shown: undefined for the cluster, else the key of a node. */
let shown;
/** What the page of a node asks for. */
let nodeHistories = [];
const history = createHistory();
const charts = NODE_CHARTS.map(createChart);

const search = () => byId('search').value;
const routeNow = () => {
  const match = /^#\/node\/(.+)$/.exec(location.hash);
  try {
    return match === null ? undefined : decodeURIComponent(match[1]);
  } catch {
    return match[1];
  }
};

async function ask(path) {
  const response = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(5000) });
  return response.json();
}

// --- asking, while somebody looks ---

let timer;

async function look() {
  clearTimeout(timer);
  if (document.hidden) return;
  const wantsStatus = overview !== undefined && shown !== undefined && shown === overview.nodes[0].subnet;
  try {
    const [told, own] = await Promise.all([ask('cluster'), wantsStatus ? ask('status') : undefined]);
    if (told.nodes !== undefined) {
      overview = told;
      if (own?.node !== undefined) status = own;
      update();
    } else
      setState(
        told.starting === undefined ? `the daemon has a problem: ${told.error}` : `starting: ${told.starting}`,
        'warn',
      );
  } catch {
    setState('the daemon does not answer', 'bad');
  }
  clearTimeout(timer);
  timer = setTimeout(look, Math.max(INTERVAL_MS, (overview?.nodes.length ?? 0) * MS_BY_NODE));
}

let slowTimer;

/** What changes seldom. */
async function lookSlowly() {
  clearTimeout(slowTimer);
  if (document.hidden) return;
  await Promise.allSettled([
    ...(shown === undefined ? [history] : nodeHistories).map((each) => each.ask()),
    askEvents(),
  ]);
  if (overview !== undefined) updateSlow();
  clearTimeout(slowTimer);
  slowTimer = setTimeout(lookSlowly, SLOW_MS);
}

/** Events are few, and wanted at once: whenever the picture of the nodes is another one. */
let seen = '';
async function noticeNews() {
  const now = overview.nodes.map(({ subnet, state }) => `${subnet} ${state}`).join();
  if (now === seen) return;
  seen = now;
  await askEvents().catch(() => undefined);
  updateSlow();
}

// --- showing ---

function update() {
  performance.mark('update-begins');
  const problems = problemsOf(overview);
  const verdict = verdictOf(problems, overview.nodes);
  setState(verdict.text, verdict.mark);
  document.body.classList.toggle('uncounted', overview.traffic === 'not-counted');
  setText(byId('uncounted'), UNCOUNTED[overview.traffic]);
  setText(byId('where'), `${overview.network}, seen from ${nameOf(overview.nodes[0])}`);
  route();
  if (shown === undefined) {
    setText(byId('summary'), summaryOf(overview));
    byId('cluster').classList.toggle('many', isMany(overview.nodes));
    showProblems(problems);
    showMap(overview, search());
    showNodes(overview, search());
    setText(byId('quiet'), overview.linksLeftOut > 0 ? 'pairs that work and are quiet are not drawn' : '');
  } else showNodePage(overview, status, nodeHistories, search());
  performance.measure('update', 'update-begins');
  // Who wants to know is told of each; a page that is open for weeks keeps none.
  performance.clearMarks();
  performance.clearMeasures();
  void noticeNews();
}

function updateSlow() {
  if (shown === undefined) {
    showAllEvents(search(), nameOf(overview.nodes[0]));
    setText(
      byId('history-note'),
      [`of ${nameOf(overview.nodes[0])}`, spanOf(history.known)].filter(Boolean).join(', '),
    );
    for (const chart of charts) chart.show(history.known, overview);
  } else showNodePage(overview, status, nodeHistories, search());
}

function summaryOf({ nodes, links }) {
  const present = nodes.filter(({ lostSeconds }) => lostSeconds === null);
  const versions = new Set(present.flatMap(({ version }) => version ?? []));
  const flows = links.reduce((all, { aToB, bToA }) => all + (aToB ?? 0) + (bToA ?? 0), 0);
  const trips = present.flatMap(({ rttMs }) => rttMs ?? []).sort((a, b) => a - b);
  return [
    counted(present.length, 'node'),
    links.some(({ aToB, bToA }) => aToB !== null || bToA !== null) ? `${bits(flows)} between them` : '',
    trips.length > 0 ? `round trip ${milliseconds(trips[trips.length >> 1])}` : '',
    versions.size === 1 ? `version ${[...versions][0]}` : versions.size > 1 ? `${versions.size} versions` : '',
  ]
    .filter(Boolean)
    .join(' · ');
}

function setState(text, mark) {
  setText(byId('state'), text);
  setAttribute(byId('state'), 'class', mark);
  document.body.classList.toggle('stale', text.includes('does not answer') && mark === 'bad' && overview !== undefined);
}

/** Opens what the address says. */
function route() {
  const wanted = routeNow();
  const isOpen = !byId('cluster').hidden || !byId('node').hidden;
  if (isOpen && wanted === shown) return;
  const isFirst = !isOpen;
  shown = wanted;
  byId('cluster').hidden = wanted !== undefined;
  byId('node').hidden = wanted === undefined;
  byId('tip').hidden = true;
  nodeHistories = wanted === undefined ? [] : openNodePage(wanted, overview);
  document.title = wanted === undefined ? 'Rudder' : `${byId('node').querySelector('h2').textContent} - Rudder`;
  if (!isFirst) {
    window.scrollTo(0, 0);
    byId('main').focus({ preventScroll: true });
  }
  void lookSlowly();
}

function changed() {
  if (overview === undefined) return;
  update();
  updateSlow();
}

setUpMap();
setUpNodes(changed);
byId('history').append(...charts.map(({ figure }) => figure));
byId('foot').append(
  'What is shown here is also there as ',
  element('a', { href: 'cluster', text: 'JSON' }),
  ', ',
  element('a', { href: 'status', text: 'the status of this node' }),
  ' and ',
  element('a', { href: 'metrics', text: 'metrics' }),
  '.',
);
byId('search').addEventListener('input', changed);
addEventListener('hashchange', () => {
  if (!location.hash.startsWith('#/') && location.hash !== '') return;
  status = undefined;
  if (overview !== undefined) update();
  void look();
});
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  void look();
  void lookSlowly();
});
void look();

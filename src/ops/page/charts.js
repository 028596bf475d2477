// Curves of the last hours, which the daemon keeps. uPlot draws them; what they say is also there as text.
/* global uPlot */
import { element, setText } from './dom.js';
import { bitRate, counted, DROPS_UNKNOWN, digits, duration, milliseconds } from './words.js';

const HEIGHT = 170;
const MOST = 2000;

/** What another node says of itself, whole each time: `known.length` is 0 while it says nothing. */
export function createHistoryOf(subnet) {
  const known = { last: -1, step: 10, endsAt: 0, length: 0, curves: {}, drops: {} };
  return {
    known,
    async ask() {
      const query = new URLSearchParams({ of: subnet });
      const response = await fetch(`history?${query}`, { cache: 'no-store', signal: AbortSignal.timeout(5000) });
      const { stepSeconds, endsAt, curves } = await response.json();
      if (!response.ok || curves === undefined) return;
      const { drops, ...others } = curves;
      const length = others.out?.length ?? 0;
      Object.assign(known, { step: stepSeconds, endsAt: Date.parse(endsAt) / 1000, length, curves: others });
      known.drops = drops === undefined ? {} : { all: drops };
    },
  };
}

/** @param subnet of a peer; undefined: the node itself */
export function createHistory(subnet) {
  const known = { last: -1, step: 10, endsAt: 0, length: 0, curves: {}, drops: {} };
  return {
    known,
    async ask() {
      const query = new URLSearchParams({ after: String(known.last) });
      if (subnet !== undefined) query.set('peer', subnet);
      const response = await fetch(`history?${query}`, { cache: 'no-store', signal: AbortSignal.timeout(5000) });
      if (!response.ok) return;
      const part = await response.json();
      // A daemon that was started anew begins anew.
      if (part.last < known.last) Object.assign(known, { last: -1, length: 0, curves: {}, drops: {} });
      else append(known, part);
    },
  };
}

function append(known, { last, stepSeconds, endsAt, curves, drops }) {
  const count = Object.values(curves)[0]?.length ?? 0;
  const length = Math.min(known.length + count, MOST);
  for (const [kept, told] of [
    [known.curves, curves],
    [known.drops, drops],
  ]) {
    for (const name of new Set([...Object.keys(kept), ...Object.keys(told)])) {
      const before = kept[name] ?? Array(known.length).fill(null);
      kept[name] = [...before, ...(told[name] ?? Array(count).fill(null))].slice(-length);
    }
  }
  Object.assign(known, { last, step: stepSeconds, endsAt: Date.parse(endsAt) / 1000, length });
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const scheme = matchMedia('(prefers-color-scheme: dark)');

/**
 * One figure. `pick` makes of the history a list of curves: { name, colour, values }.
 * @param say a value with its unit @param none what stands there while no value is known, by what is counted at all
 */
export function createChart({ title, pick, say, none }) {
  const caption = element('figcaption', {}, element('h3', { text: title }), element('p'));
  const box = element('div', { class: 'plot', role: 'img' });
  const figure = element('figure', { class: 'chart' }, caption, box);
  let plot;
  let data;
  const redraw = () => {
    plot?.destroy();
    plot = undefined;
    if (data !== undefined) show(...data);
  };
  scheme.addEventListener('change', redraw);
  new ResizeObserver(
    () => plot !== undefined && box.clientWidth > 0 && plot.setSize({ width: box.clientWidth, height: HEIGHT }),
  ).observe(box);

  function show(known, counting) {
    data = [known, counting];
    const curves = pick(known, counting);
    const isEmpty = known.length < 2 || curves.every(({ values }) => values.every((value) => value === null));
    figure.classList.toggle('empty', isEmpty);
    const text = isEmpty
      ? known.length < 2
        ? 'the daemon has just begun to remember'
        : none(counting)
      : curves.map((curve) => sentence(curve, say)).join('; ');
    setText(caption.lastChild, text);
    box.setAttribute('aria-label', `${title} over ${duration(known.length * known.step)}: ${text}`);
    if (isEmpty || box.clientWidth === 0) return;
    const times = Array.from({ length: known.length }, (_, i) => known.endsAt - (known.length - 1 - i) * known.step);
    const values = [times, ...curves.map((curve) => curve.values)];
    if (plot !== undefined && plot.series.length === values.length) plot.setData(values);
    else {
      plot?.destroy();
      plot = draw(box, curves, values, say);
    }
  }

  return { figure, show };
}

function sentence({ name, values }, say) {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return `${name}: not known`;
  return `${name} ${say(known.at(-1))}, at most ${say(Math.max(...known))}`;
}

const MINUTES = { hour: '2-digit', minute: '2-digit' };

function clock(at, step) {
  return new Date(at * 1000).toLocaleTimeString('en-GB', step < 60 ? { ...MINUTES, second: '2-digit' } : MINUTES);
}

/** Multiples of these have two digits, so that what stands at a line is where the line is. */
const STEPS = Array.from({ length: 54 }, (_, i) => [1, 2, 5][i % 3] * 10 ** (Math.floor(i / 3) - 4));

function draw(box, curves, values, say) {
  const axis = {
    stroke: colour('--muted'),
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
    font: '12px system-ui, sans-serif',
  };
  const options = {
    width: box.clientWidth,
    height: HEIGHT,
    padding: [10, 22, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 6 } },
    scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
    axes: [
      {
        ...axis,
        values: (_, ticks, __, ___, step) => ticks.map((at) => clock(at, step)),
        space: 70,
        size: 28,
      },
      { ...axis, incrs: STEPS, values: (_, ticks) => ticks.map(say), size: 76, space: 30 },
    ],
    series: [
      {},
      ...curves.map(({ name, colour: variable, dash }) => ({
        label: name,
        stroke: colour(variable),
        width: 1.6,
        dash,
        fill: curves.length === 1 ? `${colour(variable)}22` : undefined,
        // A line needs two of them.
        points: { show: ({ data }, i) => data[i].filter((value) => value !== null).length < 2, size: 6 },
      })),
    ],
  };
  return new uPlot(options, values, box);
}

/** Null where none of them is known. */
const add = (total, value) => (value === null || value === undefined ? total : (total ?? 0) + value);
const sum = (curves, length) =>
  Array.from({ length }, (_, i) => Object.values(curves).reduce((total, values) => add(total, values[i]), null));

/** A reason has a curve from the first drop on. */
const dropped = ({ drops, length }, { countsDrops }) =>
  Object.keys(drops).length === 0 && countsDrops ? Array(length).fill(0) : sum(drops, length);

const inBits = (bytes = []) => bytes.map((value) => (value === null ? null : value * 8));

const traffic = {
  title: 'Traffic',
  pick: ({ curves }) => [
    { name: 'sends', colour: '--accent', values: inBits(curves.out) },
    { name: 'receives', colour: '--second', dash: [5, 3], values: inBits(curves.in) },
  ],
  say: bitRate,
  none: ({ traffic }) =>
    traffic === 'not-counted'
      ? 'not known: the kernel moves the packets, and does not count them by node'
      : 'nothing has been counted yet',
};
const roundTrip = (title) => ({
  title,
  pick: ({ curves }) => [{ name: 'now', colour: '--accent', values: curves.rtt ?? [] }],
  say: milliseconds,
  none: () => 'nobody has answered a probe',
});
const drops = {
  title: 'Dropped packets',
  pick: (known, counting) => [{ name: 'now', colour: '--bad', values: dropped(known, counting) }],
  say: (value) => `${digits(value)}/s`,
  // Where they are counted, and there are none, zeros are known.
  none: () => DROPS_UNKNOWN,
};
const unwell = {
  title: 'Peers that do not answer',
  pick: ({ curves }) => [{ name: 'now', colour: '--bad', values: curves.unwell ?? [] }],
  say: (value) => (Number.isInteger(value) ? String(value) : ''),
  none: () => 'none',
};

export const NODE_CHARTS = [traffic, roundTrip('Round trip, median of all peers'), drops, unwell];
export const PEER_CHARTS = [traffic, roundTrip('Round trip')];

/** Since when there is something to see. */
export const spanOf = ({ length, step }) =>
  length < 2 ? '' : `${duration(length * step)}, one value every ${counted(step, 'second')}`;

// What has happened, the latest first. The daemon keeps the list; we ask for what is new.
import { byId, element, keepChildren, setAttribute, setText } from './dom.js';
import { matches } from './words.js';

const MOST_KEPT = 2000;
const MOST_SHOWN = 40;
const children = new Map();
let events = [];

export async function askEvents() {
  const after = events[0]?.id ?? 0;
  const response = await fetch(`events?after=${after}`, { cache: 'no-store', signal: AbortSignal.timeout(5000) });
  if (!response.ok) return;
  const news = await response.json();
  if (news.length > 0) events = [...news.reverse(), ...events].slice(0, MOST_KEPT);
}

/** @param concerns undefined: all that happened @param kept the list's own children, by id */
export function showEvents(list, kept, search, concerns = () => true) {
  // Else nobody without a mouse sees more than its beginning.
  list.tabIndex = 0;
  const wanted = events.filter((event) => concerns(event) && matches(search, event.line, event.subject, event.kind));
  keepChildren(
    list,
    kept,
    wanted.slice(0, MOST_SHOWN),
    ({ id }) => id,
    createRow,
    () => undefined,
  );
  return wanted.length;
}

export function showAllEvents(search, own) {
  const count = showEvents(byId('events'), children, search);
  setText(byId('events-note'), count === 0 ? 'none' : `as ${own} saw them`);
}

const BAD = /\.(silent|unreachable|lost|failed|problem|degraded|invalid|deleted)$/;
const CALM = /\.(ok|ready|restored|back|current|added|taken)$/;

function createRow({ time, kind, subject, line }) {
  const at = new Date(time);
  const row = element('li', {}, element('time', { datetime: time, title: time, text: clock(at) }));
  row.append(
    element('span', { class: 'names', text: subject ?? '' }),
    element('span', { class: 'text', text: subject === null ? line : ` ${line}` }),
  );
  setAttribute(row, 'class', BAD.test(kind) ? 'bad' : CALM.test(kind) ? 'ok' : 'plain');
  return row;
}

function clock(at) {
  const time = at.toLocaleTimeString('en-GB');
  return at.toDateString() === new Date().toDateString()
    ? time
    : `${at.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })} ${time}`;
}

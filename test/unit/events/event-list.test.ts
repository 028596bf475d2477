import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { EVENT_AREAS, type EventKind } from '../../../src/core/event.js';
import { createEventList, MOST_OF_AREA } from '../../../src/events/event-list.js';
import { eventOf } from '../../../src/events/event-text.js';

const event = (kind: EventKind, host?: string) => eventOf(kind, 'it happened', { host });

beforeEach(() => void vi.useFakeTimers({ now: Date.parse('2026-11-27T10:00:00Z') }));
afterEach(() => void vi.useRealTimers());

describe('the list of events', () => {
  it('is in the order in which they happened, whatever the clock does, and goes on from earlier runs', () => {
    const first = createEventList([]);
    first.add(event('peer.added', 'n2'));
    vi.setSystemTime(Date.parse('2020-01-01T00:00:00Z'));
    first.add(event('lease.lost'));
    const second = createEventList(first.after(0));
    second.add(event('peer.silent', 'n2'));
    expect(second.after(0).map(({ kind }) => kind)).toEqual(['peer.added', 'lease.lost', 'peer.silent']);
    expect(second.after(0).map(({ time }) => time.slice(0, 4))).toEqual(['2026', '2020', '2020']);
    const [, { id }] = second.after(0);
    expect(second.after(id).map(({ kind }) => kind)).toEqual(['peer.silent']);
  });

  it('does not give the number of an event that a crash has lost to another', () => {
    const lost = createEventList([]);
    lost.add(event('peer.added', 'n2'));
    lost.add(event('peer.added', 'n3'));
    const seen = lost.after(0).at(-1)!.id;
    vi.advanceTimersByTime(5000);
    const anew = createEventList([]);
    anew.add(event('node.starting'));
    expect(anew.after(seen)).toHaveLength(1);
  });

  it('keeps what is rare when a peer flaps, of other areas and of other peers, and has a bound', () => {
    const list = createEventList([]);
    list.add(event('lease.lost'));
    list.add(event('peer.silent', 'n9'));
    for (let i = 0; i < 5000; i++) {
      list.add(event(i % 2 ? 'peer.ok' : 'peer.silent', 'flaps'));
      list.add(event('device.repaired'));
    }
    const kept = list.after(0);
    expect(kept.slice(0, 2).map(({ kind, subject }) => [kind, subject])).toEqual([
      ['lease.lost', null],
      ['peer.silent', 'n9'],
    ]);
    expect(kept).toHaveLength(1 + MOST_OF_AREA + MOST_OF_AREA);
    // The last of what has happened too often is there.
    expect(kept.findLast(({ subject }) => subject === 'flaps')!.kind).toBe('peer.ok');
  });

  it('is bounded also when a file has more', () => {
    const list = createEventList(
      Array.from({ length: 9000 }, (_, i) => ({ ...event('peer.added', `n${i}`), id: i + 1 })),
    );
    expect(list.after(0)).toHaveLength(MOST_OF_AREA);
    expect(EVENT_AREAS).toContain('peer');
  });
});

describe('the text of an event', () => {
  it('names whom it concerns, and says why, else what', () => {
    const fields = { host: 'n2', subnet: '10.240.2.0/24', suppressed: 0 };
    expect(eventOf('peer.added', 'peer added', fields)).toMatchObject({
      subject: 'n2',
      line: 'peer added (subnet 10.240.2.0/24)',
      fields: { host: 'n2', subnet: '10.240.2.0/24' },
    });
    expect(eventOf('peer.unreachable', 'peer is unreachable', { ...fields, reason: 'no way' }).line).toBe(
      'peer is unreachable: no way',
    );
    expect(eventOf('node.stopped', 'stopping', {})).toMatchObject({ subject: null, line: 'stopping', fields: {} });
  });

  it('is printable and bounded, whatever a stranger has called himself', () => {
    const evil = `\u001b[2J\n\u202e${'x'.repeat(100_000)}`;
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k${i}`, evil]));
    const text = JSON.stringify(eventOf('peer.added', 'peer added', { host: evil, reason: evil, object: {}, ...many }));
    expect(text.length).toBeLessThan(5000);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it must not have
    expect(text).not.toMatch(/[\u0000-\u001f\u202e]|\\u|\\n/);
  });
});

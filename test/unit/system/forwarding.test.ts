import { beforeEach, describe, expect, it } from 'vitest';
import { createForwardingJudge, type ForwardingJudge, SPAN_MS } from '../../../src/system/forwarding.js';
import { TABLE_COUNTERS, type TableCounter } from '../../../src/system/nft-rules.js';

let judge: ForwardingJudge;
let now = 0;
let counts: Record<TableCounter, number>;

beforeEach(() => {
  judge = createForwardingJudge();
  counts = Object.fromEntries(TABLE_COUNTERS.map((name) => [name, 0])) as Record<TableCounter, number>;
});

/** What is judged after so much more has come. */
function given(more: Partial<Record<TableCounter, number>>) {
  for (const [name, count] of Object.entries(more)) counts[name as TableCounter] += count;
  return judge.judge({ ...counts }, now);
}

describe('whether packets of containers pass', () => {
  it('is not known before any came', () => {
    expect(given({})).toEqual({ out: 'unknown', in: 'unknown' });
  });

  it('is told for each way by itself', () => {
    expect(given({ out_entered: 9, out_left: 9 })).toEqual({ out: 'passes', in: 'unknown' });
    expect(given({ in_entered: 9 })).toEqual({ out: 'passes', in: 'dropped' });
    expect(given({ in_entered: 1, in_left: 1 })).toEqual({ out: 'passes', in: 'passes' });
  });

  it('does not hang on single packets: a rule may rightly refuse them', () => {
    expect(given({ out_entered: 3 }).out).toBe('unknown');
    expect(given({ out_entered: 10, out_left: 1 }).out).toBe('passes');
    // Nor can a container that is refused make it so: others have passed by the same rules.
    expect(given({ out_entered: 100 }).out).toBe('passes');
  });

  it('adds up what comes little by little', () => {
    for (let i = 0; i < 3; i++) expect(given({ out_entered: 1 }).out).toBe('unknown');
    expect(given({ out_entered: 1 }).out).toBe('dropped');
    expect(given({ out_entered: 1, out_left: 1 }).out).toBe('passes');
  });

  it('is no when one was translated, also if others pass, until rules change', () => {
    expect(given({ out_entered: 9, out_left: 8, out_translated: 1 }).out).toBe('translated');
    expect(given({ out_entered: 1, out_left: 1 }).out).toBe('translated');
    judge.forget({ ...counts });
    expect(given({ out_entered: 1, out_left: 1 }).out).toBe('passes');
  });

  it('is kept while nothing comes, and until something passes, also if rules change', () => {
    given({ out_entered: 9 });
    expect(given({}).out).toBe('dropped');
    judge.forget({ ...counts });
    expect(given({}).out).toBe('dropped');
    expect(given({ out_entered: 1, out_left: 1 }).out).toBe('passes');
  });

  it('is told also where rules change all the time', () => {
    for (let i = 0; i < 4; i++) {
      given({ out_entered: 1 });
      judge.forget({ ...counts });
    }
    expect(given({}).out).toBe('dropped');
  });

  it.each([
    ['passed', { out_entered: 9, out_left: 9 }],
    ['was translated', { out_entered: 9, out_left: 9, out_translated: 9 }],
    ['was lost', { out_entered: 9 }],
  ])('of what %s is not believed for longer than a minute', (_, more) => {
    given(more);
    for (let spans = 0; spans < 3; spans++) {
      now += SPAN_MS;
      given({});
    }
    expect(given({}).out).toBe('unknown');
    expect(given({ out_entered: 4 }).out).toBe('dropped');
  });

  it('is judged anew when the table was made anew and counts from 0', () => {
    given({ out_entered: 900, out_left: 900 });
    judge.forget({ ...counts });
    counts.out_entered = 0;
    counts.out_left = 0;
    expect(given({ out_entered: 5 }).out).toBe('dropped');
  });
});

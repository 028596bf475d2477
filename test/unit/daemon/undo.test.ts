import { beforeEach, describe, expect, it } from 'vitest';
import { createUndo, type Undo } from '../../../src/daemon/undo.js';
import { createRecordingLog, type RecordingLog } from '../../helpers/recording-log.js';

let log: RecordingLog;
let undo: Undo;
let ran: string[];
beforeEach(() => {
  log = createRecordingLog();
  undo = createUndo(log);
  ran = [];
});

const step = (name: string) => async () => void ran.push(name);
const failing = (name: string) => async () => {
  ran.push(name);
  throw new Error(`${name} is\nbusy`);
};

describe('undo', () => {
  it('does nothing without steps', async () => {
    await undo.all();
    expect(log.lines).toEqual([]);
  });

  it('runs nothing before it is asked to', () => {
    undo.add('device', step('device'));
    expect(ran).toEqual([]);
  });

  it('runs the last step first', async () => {
    for (const name of ['device', 'lease', 'file']) undo.add(name, step(name));
    await undo.all();
    expect(ran).toEqual(['file', 'lease', 'device']);
    expect(log.lines).toEqual([]);
  });

  it('waits for each step before the next', async () => {
    undo.add('first', step('first'));
    let finish = () => {};
    undo.add('slow', () => new Promise<void>((resolve) => (finish = resolve)).then(step('slow')));
    const all = undo.all();
    await new Promise((resolve) => setImmediate(resolve)); // all microtasks have run
    expect(ran).toEqual([]);
    finish();
    await all;
    expect(ran).toEqual(['slow', 'first']);
  });

  it('logs a step that fails and runs the others', async () => {
    undo.add('device', step('device'));
    undo.add('lease', failing('lease'));
    undo.add('file', failing('file'));
    await undo.all();
    expect(ran).toEqual(['file', 'lease', 'device']);
    expect(log.lines).toEqual([
      { level: 'warn', message: 'could not undo', fields: { what: 'file', reason: 'file is busy' } },
      { level: 'warn', message: 'could not undo', fields: { what: 'lease', reason: 'lease is busy' } },
    ]);
  });

  it('runs each step once', async () => {
    undo.add('device', step('device'));
    await undo.all();
    await undo.all();
    expect(ran).toEqual(['device']);
  });

  it('runs the others also after a step that throws at once', async () => {
    undo.add('device', step('device'));
    undo.add('lease', () => {
      throw new Error('at once');
    });
    await undo.all();
    expect(ran).toEqual(['device']);
  });
});

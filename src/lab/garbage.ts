import { logText } from './nodes.js';
import type { LabNode, LabState } from './state.js';

/**
 * How often each isolate (thread) of a node's daemon has collected garbage so far, from the lines that V8 writes with
 * `--trace-gc`: `[pid:0xisolate] ... Scavenge ...`. Loading the libraries makes the main thread collect before the
 * worker exists, so the first isolate of the map is the main thread's, and any other is the worker's.
 */
export function collections(lab: LabState, node: LabNode): Map<string, number> {
  const counts = new Map<string, number>();
  for (const [, isolate] of logText(lab, node).matchAll(/^\[\d+:(0x[0-9a-f]+)\].*(?:Scavenge|Mark-Compact)/gm)) {
    counts.set(isolate, (counts.get(isolate) ?? 0) + 1);
  }
  return counts;
}

/** Collections in the packet path's worker so far; undefined if the daemon was not started with `--trace-gc`. */
export function workerCollections(lab: LabState, node: LabNode): number | undefined {
  const [main, ...others] = collections(lab, node).values();
  return main === undefined ? undefined : others.reduce((sum, count) => sum + count, 0);
}

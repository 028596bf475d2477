import type { History, PeerSample } from '../../src/history/history.js';

/** A whole step at once. @param now seconds */
export function addStep(history: History, peers: readonly PeerSample[], drops: Record<string, number>, now: number) {
  const step = history.begin(now);
  for (const sample of peers) step.peer(sample);
  step.end(drops);
}
